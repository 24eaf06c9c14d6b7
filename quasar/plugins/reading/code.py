"""Reads a whole upload and returns every finding."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from quasar.plugins.manifest import Kind
from quasar.plugins.reading.habits import read_habits, read_hosts, read_secrets
from quasar.plugins.reading.shape import find_classes, read_classes
from quasar.plugins.reading.side_effects import read_side_effects
from quasar.plugins.reading.source import Source, literal
from quasar.plugins.report import Finding, Severity


def read_code(kind: Kind, texts: Mapping[str, str]) -> tuple[int, list[Finding]]:
    """Return how many symbols the class needs, and what can be said about the code without running it.

    Args:
        kind: What it is to be.
        texts: Its files by name.
    """
    findings: list[Finding] = []
    symbols = 1
    sources: list[Source] = []
    for name, text in texts.items():
        try:
            sources.append(Source.parse(name, text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            findings.append(_unparsable(name, error))
    if not findings:
        found = find_classes(kind, sources)
        findings += read_classes(kind, sources, found)
        for source, node in found:
            symbols = _least_symbols(node)
            if kind is not Kind.STRATEGY:
                read_hosts(source, node)
                read_secrets(source, node)
    for source in sources:
        read_side_effects(source)
        read_habits(source)
        findings += dict.fromkeys(source.findings)
    return symbols, findings


def kind_of(texts: Mapping[str, str]) -> Kind:
    """Return what code is by the class that its own extends; a provider when that cannot be told."""
    sources = []
    for name, text in texts.items():
        try:
            sources.append(Source.parse(name, text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # validation says so
    return next((kind for kind in Kind if find_classes(kind, sources)), Kind.PROVIDER)


def _least_symbols(node: ast.ClassDef) -> int:
    found = literal(node, "min_symbols")
    return found[1] if found is not None and isinstance(found[1], int) else 1


def _unparsable(name: str, error: Exception) -> Finding:
    line = error.lineno or 0 if isinstance(error, SyntaxError) else 0
    column = error.offset or 0 if isinstance(error, SyntaxError) else 0
    message = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    excerpt = (error.text or "").strip()[:200] if isinstance(error, SyntaxError) else ""
    return Finding(
        severity=Severity.ERROR,
        rule="syntax-error",
        message=f"the file must be Python, was not: {message}",
        remedy="correct the line; `python -m py_compile` shows the same",
        file=name,
        line=line,
        column=column,
        excerpt=excerpt,
    )
