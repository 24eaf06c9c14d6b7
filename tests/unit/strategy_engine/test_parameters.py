"""Parameters are held to the fields of the manifest: every problem is told, each by its path."""

from __future__ import annotations

from typing import Any

import pytest

from quasar.errors import InvalidArgument
from quasar.plugins.manifest import Kind
from quasar.plugins.validation import validate
from strategy_engine.rpc.values import document
from strategy_engine.strategies.parameters import completed

SOURCE = b"""from decimal import Decimal
from quasar.strategy import Parameter, Strategy

class Tuned(Strategy):
    fast = Parameter(10, minimum=2, maximum=400)
    ratio = Parameter(0.5, minimum=0.0, maximum=1.0)
    size = Parameter(Decimal("0.1"), minimum=Decimal("0.01"))
    mode = Parameter("calm", choices=("calm", "wild"))
    short = Parameter(False)

    def on_bar(self, bar):
        pass
"""


@pytest.fixture(scope="module")
async def manifest() -> dict[str, Any]:
    """The manifest as the Registry stores it, of a class that declares a parameter of each type."""
    from quasar.convert.plugin_report import report_to_proto

    report = await validate(Kind.STRATEGY, "tuned.py", SOURCE)
    assert report.passed, report.findings
    return document(report_to_proto(report).manifest)


async def test_what_is_absent_takes_its_default(manifest: dict[str, Any]) -> None:
    given = {"fast": 20, "ratio": 1, "size": "0.02", "mode": "wild"}
    assert completed(manifest, given) == {**given, "short": False}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("fast", "ten", "must be a whole number, was 'ten'"),
        ("fast", 10.5, "must be a whole number, was 10.5"),
        ("fast", 1, "must be at least 2, was 1"),
        ("fast", True, "must be a whole number, was True"),
        ("ratio", 1.5, "must be at most 1, was 1.5"),
        ("size", "0.001", "must be at least 0.01, was 0.001"),
        ("size", "much", "must be a number, was 'much'"),
        ("mode", "mad", "must be one of calm, wild, was 'mad'"),
        ("short", 1, "must be true or false, was 1"),
        ("slow", 3, "must be among fast, mode, ratio, short, size, was slow"),
    ],
)
async def test_a_parameter_that_breaks_the_schema_is_named_by_its_path(
    manifest: dict[str, Any], name: str, value: object, problem: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        completed(manifest, {name: value})
    assert [(each.field, each.description) for each in caught.value.violations] == [(f"parameters.{name}", problem)]


async def test_all_problems_are_told_at_once(manifest: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        completed(manifest, {"fast": 0, "mode": "mad"})
    assert [each.field for each in caught.value.violations] == ["parameters.fast", "parameters.mode"]
