"""The class of a plug-in: exactly one, with a usable name, and methods of the right form."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from quasar.plugins.manifest import Kind
from quasar.plugins.reading.source import Function, Source, is_generator, literal, methods
from quasar.plugins.report import Finding, Severity

_BASES: Final = {
    Kind.PROVIDER: frozenset({"quasar.provider.Provider", "quasar.provider.WebSocketProvider"}),
    Kind.BROKER: frozenset({"quasar.broker.Broker"}),
    Kind.STRATEGY: frozenset({"quasar.strategy.Strategy"}),
}
_NAME_SIGNS: Final = "_.-"


@dataclass(frozen=True, slots=True)
class Form:
    """What a method has to look like."""

    arguments: int
    """Without `self`; the greatest number that is passed."""
    is_async: bool
    yields: bool | None
    """None: either."""


_FORMS: Final = {
    Kind.PROVIDER: {
        "bars": Form(1, True, True),
        "ticks": Form(1, True, True),
        "live": Form(1, True, True),
        "symbols": Form(1, True, True),
        "constituents": Form(2, True, False),
        "start": Form(0, True, False),
        "stop": Form(0, True, False),
        "subscribe": Form(1, False, None),
        "unsubscribe": Form(1, False, None),
        "parse": Form(1, False, None),
        "endpoint": Form(0, True, False),
    },
    Kind.BROKER: {
        "place": Form(1, True, False),
        "cancel": Form(1, True, False),
        "replace": Form(3, True, False),
        "order": Form(1, True, False),
        "open_orders": Form(1, True, False),
        "positions": Form(0, True, False),
        "account": Form(0, True, False),
        "fills": Form(1, True, True),
        "events": Form(1, True, True),
        "connect": Form(0, True, False),
        "close": Form(0, True, False),
    },
    Kind.STRATEGY: {
        "on_start": Form(0, False, False),
        "on_bar": Form(1, False, False),
        "on_tick": Form(1, False, False),
        "on_fill": Form(1, False, False),
        "on_order": Form(1, False, False),
        "on_timer": Form(1, False, False),
        "on_stop": Form(0, False, False),
    },
}


def find_classes(kind: Kind, sources: Sequence[Source]) -> list[tuple[Source, ast.ClassDef]]:
    """Return the classes of a kind, those that a base of the author's own makes so included."""
    known = set(_BASES[kind])
    found: list[tuple[Source, ast.ClassDef]] = []
    for _ in range(3):  # bases may stand after, or in another file
        found = [
            (source, node)
            for source in sources
            for node in source.classes()
            if any(source.names(base) & known for base in node.bases)
        ]
        for source, node in found:
            module = source.name.removesuffix(".py").replace("/", ".")
            known |= {node.name, f"{module}.{node.name}"}
    bases = {source.dotted(base) for source, node in found for base in node.bases}
    return [(source, node) for source, node in found if not node.name.startswith("_") and node.name not in bases]


def is_base(kind: Kind, source: Source, base: ast.expr) -> bool:
    """Tell whether a base of a class is what the SDK gives to classes of a kind."""
    return bool(source.names(base) & _BASES[kind])


def read_classes(
    kind: Kind, sources: Sequence[Source], found: Sequence[tuple[Source, ast.ClassDef]]
) -> Iterable[Finding]:
    """Say when there is not exactly one class, and note what is wrong with the one."""
    word = kind.value
    if not found:
        base = sorted(_BASES[kind])[0]
        module, _, name = base.rpartition(".")
        return [
            Finding(
                severity=Severity.ERROR,
                rule=f"no-{word}-class",
                message=f"the code must hold one class that extends {name}, was none",
                remedy=f"from {module} import {name}, and write: class Mine({name})",
                file=sources[0].name if sources else "",
            )
        ]
    for source, node in found[1:]:
        first = found[0][1].name
        text = f"the code must hold one {word} class, {node.name} is another beside {first}"
        source.add(Severity.ERROR, f"two-{word}-classes", node, text, "upload them apart, or begin one's name with _")
    for source, node in found:
        _read_name(source, node)
        _read_methods(kind, source, node)
    return []


def _read_name(source: Source, node: ast.ClassDef) -> None:
    found = literal(node, "name")
    if found is None:
        return
    value, name = found
    usable = isinstance(name, str) and name[:1].isalpha() and len(name) <= 100
    if not usable or not all(sign.isascii() and (sign.isalnum() or sign in _NAME_SIGNS) for sign in str(name)):
        text = f"name must be letters, digits, '_', '.' and '-', starting with a letter, was {name!r}"
        source.add(Severity.ERROR, "bad-name", value, text, 'write, for example, name = "my_source"')
    if not ast.get_docstring(node):
        text = f"{node.name} has no docstring"
        source.add(Severity.INFO, "no-docstring", node, text, "its first line is what people see in lists")


def _read_methods(kind: Kind, source: Source, node: ast.ClassDef) -> None:
    for name, function in methods(node).items():
        form = _FORMS[kind].get(name)
        if form is not None:
            _read_form(source, function, form)


def _read_form(source: Source, function: Function, form: Form) -> None:
    name = function.name
    if isinstance(function, ast.AsyncFunctionDef) != form.is_async:
        right, wrong = ("async def", "def") if form.is_async else ("def", "async def")
        text = f"{name} must be written with {right}, was {wrong}"
        source.add(Severity.ERROR, "wrong-method-form", function, text, f"write: {right} {name}(self, …)")
    elif form.yields is not None and is_generator(function) != form.yields and not _only_raises(function):
        text = f"{name} must {'yield its items' if form.yields else 'return its result'}"
        remedy = "yield each item as it comes" if form.yields else "return instead of yield"
        source.add(Severity.ERROR, "wrong-method-form", function, text, remedy)
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args) - 1
    needed = positional - len(arguments.defaults)
    if arguments.vararg is None and not needed <= form.arguments <= positional:
        text = f"{name} must take {form.arguments} arguments beside self, was {positional}"
        source.add(Severity.ERROR, "wrong-arguments", function, text, f"see {name} of the base class")


def _only_raises(function: Function) -> bool:
    return isinstance(function.body[-1], ast.Raise)
