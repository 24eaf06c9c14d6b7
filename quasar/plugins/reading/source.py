"""One file of the author's, parsed, with what readers share: findings with places, dotted names, parents."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from quasar.plugins.report import Finding, Severity

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Source:
    """One file."""

    name: str
    text: str
    tree: ast.Module
    findings: list[Finding] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    """What each imported name stands for: `np` → `numpy`, `Provider` → `quasar.provider.Provider`."""
    stars: list[str] = field(default_factory=list)
    """Modules of which everything is imported."""
    docstrings: set[int] = field(default_factory=set)
    """Ids of constants that are docstrings."""

    @classmethod
    def parse(cls, name: str, text: str) -> Source:
        """Parse a file.

        Raises:
            SyntaxError: It is no Python.
        """
        source = cls(name, text, ast.parse(text, name))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                source.imports.update((one.asname or one.name.split(".")[0], one.name) for one in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                source.imports.update((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)
                source.stars += [node.module for one in node.names if one.name == "*"]
            elif isinstance(node, ast.Module | ast.ClassDef | Function) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    source.docstrings.add(id(first.value))
        return source

    def add(self, severity: Severity, rule: str, node: ast.AST, message: str, remedy: str) -> None:
        """Note a finding at a node."""
        line = getattr(node, "lineno", 0)
        lines = self.text.splitlines()
        self.findings.append(
            Finding(
                severity=severity,
                rule=rule,
                message=message,
                remedy=remedy,
                file=self.name,
                line=line,
                column=getattr(node, "col_offset", -1) + 1,
                excerpt=lines[line - 1].strip()[:200] if 0 < line <= len(lines) else "",
            )
        )

    def dotted(self, node: ast.expr) -> str:
        """Return the full dotted name of an expression, imports resolved; empty when it has none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts.append(self.imports.get(node.id, node.id))
            return ".".join(reversed(parts))
        return ""

    def names(self, node: ast.expr) -> set[str]:
        """Return the full names that an expression may have, those that a star import may have brought included."""
        name = self.dotted(node)
        return {name, *(f"{module}.{name}" for module in self.stars)}

    def classes(self) -> Iterator[ast.ClassDef]:
        """Yield the classes of the file's own level."""
        return (node for node in self.tree.body if isinstance(node, ast.ClassDef))


def methods(node: ast.ClassDef) -> dict[str, Function]:
    """Return the methods that a class defines."""
    return {one.name: one for one in node.body if isinstance(one, Function)}


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions inside of it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def is_generator(function: Function) -> bool:
    """Tell whether a function yields."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function))


def literal(node: ast.ClassDef, attribute: str) -> tuple[ast.expr, object] | None:
    """Return the expression and value of a class attribute that is written as a literal; None when it is not."""
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        if isinstance(target, ast.Name) and target.id == attribute and isinstance(value, ast.expr):
            try:
                return value, ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError):
                return None
    return None
