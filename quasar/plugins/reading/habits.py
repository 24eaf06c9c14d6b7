"""Habits that go wrong later: calls that block, naive times, hosts and secrets that are not declared, no way out."""

from __future__ import annotations

import ast
from typing import Final
from urllib.parse import urlsplit

from quasar import errors
from quasar.plugins.reading.source import Function, Source, literal, own_nodes
from quasar.plugins.report import Severity
from quasar.sdk.declarations import Host

_BLOCKING: Final = (
    "time.sleep",
    "requests.",
    "urllib.request.",
    "urllib3.",
    "http.client.",
    "socket.create_connection",
)
_NAIVE: Final = frozenset(
    {"datetime.datetime.utcnow", "datetime.datetime.utcfromtimestamp", "datetime.datetime.today", "datetime.date.today"}
)
_NAIVE_WITHOUT_ZONE: Final = frozenset({"datetime.datetime.now", "datetime.datetime.fromtimestamp"})
_USELESS: Final = {
    "subprocess": "no other program can be started",
    "multiprocessing": "no process can be started",
    "ctypes": "calls to the kernel are filtered",
}


def read_habits(source: Source) -> None:
    """Note what will go wrong when the code runs."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef):
            _blocking(source, node)
        elif isinstance(node, ast.Call):
            _naive(source, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            _useless(source, node)


def _blocking(source: Source, function: Function) -> None:
    for node in own_nodes(function):
        if isinstance(node, ast.Call) and (name := source.dotted(node.func)).startswith(_BLOCKING):
            text = f"{name} blocks everything else that the process does"
            remedy = "use await self.clock.sleep(…)" if name == "time.sleep" else "use await self.http.json(…)"
            source.add(Severity.WARNING, "blocking-call", node, text, remedy)


def _naive(source: Source, node: ast.Call) -> None:
    name = source.dotted(node.func)
    name = (
        f"datetime.{name}"
        if name.startswith("datetime.") and name.count(".") == 1 and "datetime" not in source.imports
        else name
    )
    zone = any(keyword.arg in ("tz", "tzinfo") for keyword in node.keywords)
    positional = 1 if name.endswith(".now") else 2
    if name in _NAIVE or (name in _NAIVE_WITHOUT_ZONE and not zone and len(node.args) < positional):
        text = f"{name} gives a time without a zone, which is refused"
        source.add(Severity.WARNING, "naive-time", node, text, "pass datetime.UTC, or use self.clock.now()")


def _useless(source: Source, node: ast.Import | ast.ImportFrom) -> None:
    names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    for name in names:
        why = _USELESS.get(name.split(".")[0])
        if why:
            text = f"{name} is of no use here: {why}"
            source.add(Severity.WARNING, "forbidden-import", node, text, "do without it")


def read_hosts(source: Source, node: ast.ClassDef) -> None:
    """Note URLs of hosts that the class does not declare."""
    found = literal(node, "hosts")
    if found is None and any(getattr(one, "id", "") == "hosts" for one in ast.walk(node)):
        return  # the hosts are computed; the trial run reads them
    values = found[1] if found is not None else ()
    declared = _hosts(values)
    for part in ast.walk(source.tree):
        if not isinstance(part, ast.Constant) or not isinstance(part.value, str) or id(part) in source.docstrings:
            continue
        if part.value.startswith(("http://", "https://", "ws://", "wss://")):
            try:
                host = urlsplit(part.value).hostname
            except ValueError:
                continue
            if host and not any(_covers(own, host) for own in declared):
                text = f"the host {host} is not declared, so it cannot be relied on to be reachable"
                remedy = f'add "{host}" to hosts of the class'
                source.add(Severity.WARNING, "undeclared-host", part, text, remedy)


def _hosts(values: object) -> list[str]:
    found = []
    for value in values if isinstance(values, tuple | list | set) else ():
        try:
            found.append(Host.parse(str(value)).host)
        except errors.InvalidArgument:
            continue  # reading the manifest says so
    return found


def _covers(own: str, host: str) -> bool:
    return host == own or (own.startswith("*.") and host.endswith(own[1:]))


def read_secrets(source: Source, node: ast.ClassDef) -> None:
    """Note secrets that are read and not declared."""
    found = literal(node, "secrets")
    if found is None and any(getattr(one, "id", "") == "secrets" for one in ast.walk(node)):
        return  # the secrets are computed
    declared = set(found[1]) if found is not None and isinstance(found[1], tuple | list) else set()
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "secret":
            first = part.args[0] if part.args else None
            if isinstance(first, ast.Constant) and first.value not in declared:
                text = f"the secret {first.value!r} is read and not declared"
                remedy = f"declare it: secrets = ({first.value!r},)"
                source.add(Severity.ERROR, "undeclared-secret", part, text, remedy)
