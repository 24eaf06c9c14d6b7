"""Finds out which TCP ports code declares, without running it: the jail must be closed before the code is loaded."""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quasar import errors
from quasar.plugins.code import CodeVersion
from quasar.plugins.foreign import UNREADABLE, foreign_of
from quasar.plugins.manifest import Manifest
from quasar.sdk.declarations import Host

_SCHEMES = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def declared_ports(code: CodeVersion) -> tuple[int, ...]:
    """Return the ports of the hosts that stand as plain texts in the class, and of URLs among the preferences.

    An operator who stores a URL as a preference wants it to be reached. Hosts that are computed are not found here;
    the process that tells them in its manifest is started again with them.
    """
    found = set(code.ports if code.ports is not None else _in_source(code)) | _described(code)
    return tuple(sorted(found | set(ports_of_urls(code.preferences))))


def ports_of_urls(values: Mapping[str, Any]) -> Iterator[int]:
    """Return the ports of all texts that are URLs, nested ones too."""
    for _, url in _urls(values):
        parts = urlsplit(url)
        try:
            port = parts.port or _SCHEMES.get(parts.scheme)
        except ValueError:
            continue
        if port:
            yield port


def hosts_in_use(manifest: Manifest, preferences: Mapping[str, Any]) -> list[str]:
    """Return the names of the hosts that a class will reach with these preferences; wildcards name none.

    Where an operator stored another URL than the default, its host stands in the place of the default's.
    """
    stored = dict(_urls(preferences))
    replaced = {
        urlsplit(field.default).hostname
        for field in manifest.preferences
        if isinstance(field.default, str) and stored.get(field.path, field.default) != field.default
    }
    declared = [host.host for host in manifest.hosts if "*" not in host.host and host.host not in replaced]
    return list(dict.fromkeys([*declared, *(name for url in stored.values() if (name := urlsplit(url).hostname))]))


def _urls(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of everything that is a URL, nested ones too."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _urls(value, f"{before}{name}.")
        elif isinstance(value, str) and "://" in value:
            yield f"{before}{name}", value


def _described(code: CodeVersion) -> set[int]:
    """Return the ports in the description of a program in another language."""
    try:
        foreign = foreign_of(code.file_name, code.source)
    except errors.CodeRejected:
        return set()  # the process will say so
    return {host.port for host in foreign.hosts} if foreign is not None else set()


def _in_source(code: CodeVersion) -> set[int]:
    ports: set[int] = set()
    for text in _sources(code):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # the process will say so
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                ports.update(_hosts(node))
    return ports


def _sources(code: CodeVersion) -> Iterable[bytes]:
    if code.builtin:
        found = importlib.util.find_spec(code.builtin.partition(":")[0])
        return [Path(found.origin).read_bytes()] if found and found.origin else []
    if code.file_name.endswith(".zip"):
        try:
            with zipfile.ZipFile(io.BytesIO(code.source)) as archive:
                return [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
        except UNREADABLE:
            return []  # the process will say so
    return [code.source]


def _hosts(node: ast.ClassDef) -> Iterator[int]:
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        if isinstance(target, ast.Name) and target.id == "hosts" and value is not None:
            for text in _texts(value):
                try:
                    yield Host.parse(text).port
                except errors.InvalidArgument:
                    continue  # the process will say so


def _texts(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
