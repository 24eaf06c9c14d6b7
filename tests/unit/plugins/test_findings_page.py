"""The page of the rules has an entry for each, as the contract says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCES = (*(ROOT / "quasar" / "plugins").rglob("*.py"), ROOT / "datahub" / "rpc" / "validation.py")
KINDS = ("provider", "broker", "strategy")
RULE = re.compile(r"[a-z]+(-[a-z]+)+")


def written(node: ast.expr | None) -> Iterator[str]:
    """Yield the rules that an expression may stand for; `{word}` in one stands for each kind."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*written(node.body), *written(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield from ("".join(map(str, parts)).replace("{}", kind) for kind in KINDS)


def of_call(node: ast.Call) -> Iterator[str]:
    """Yield the rules that a call names."""
    for word in node.keywords:
        if word.arg == "rule":
            yield from written(word.value)
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("add", "_say") and len(node.args) > 1:
        yield from written(node.args[1])
    if isinstance(node.func, ast.Name) and node.func.id == "_error":
        yield from written(node.args[0])


def of_assignment(target: ast.expr, value: ast.expr | None) -> Iterator[str]:
    """Yield the rules that are given a name: `rule, remedy = …` or a table of rules."""
    if "rule" in ast.unparse(target).lower():
        values = value.elts[:1] if isinstance(value, ast.Tuple) else value.values if isinstance(value, ast.Dict) else []
        for one in values:
            yield from written(one)


def rules() -> set[str]:
    """Return every rule that stands in the code of validation."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found.update(of_call(node))
            elif isinstance(node, ast.Assign):
                found.update(of_assignment(node.targets[0], node.value))
            elif isinstance(node, ast.AnnAssign):
                found.update(of_assignment(node.target, node.value))
    return {rule for rule in found if RULE.fullmatch(rule)}


def test_each_rule_has_an_entry_and_each_entry_a_rule() -> None:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text()
    entries = set(re.findall(r"^\| `([a-z-]+)`", page, re.MULTILINE))
    known = rules()
    assert len(known) > 30
    assert entries == known
