"""The name under which code registers, as far as it can be read without running the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from quasar.plugins.manifest import Kind
from quasar.plugins.reading.shape import find_classes, is_base
from quasar.plugins.reading.source import Source, literal


def name_of(kind: Kind, texts: Mapping[str, str]) -> str:
    """Return the name of the one class of a kind; empty when there is not one, or only running it would tell.

    Args:
        kind: What the code is to be.
        texts: Its files by name.
    """
    try:
        sources = [Source.parse(name, text) for name, text in texts.items()]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    found = find_classes(kind, sources)
    if len(found) != 1:
        return ""
    source, node = found[0]
    written = literal(node, "name")
    if written is not None:
        return written[1] if isinstance(written[1], str) else ""
    if _sets_name(node) or not all(is_base(kind, source, base) for base in node.bases):
        return ""
    return _usual(kind, node.name)


def _sets_name(node: ast.ClassDef) -> bool:
    """Tell whether anything in the body of a class is called `name`: an assignment, a method, a property."""
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if getattr(statement, "name", "") == "name" or any(getattr(one, "id", "") == "name" for one in targets):
            return True
    return False


def _usual(kind: Kind, class_name: str) -> str:
    """Return the name of a class that sets none; the same as its `registered_name`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()
    return words.removesuffix("_provider") or words if kind is Kind.PROVIDER else words
