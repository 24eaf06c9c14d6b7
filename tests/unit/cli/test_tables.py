"""Values as people and programs read them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

import pytest

from quasar.cli import tables
from quasar.plugins.manifest import Kind
from quasar.plugins.report import Severity


@dataclass(frozen=True)
class Thing:
    name: str
    at: dt.datetime


def test_columns_are_as_wide_as_their_widest_value() -> None:
    text = tables.table(("NAME", "STATE"), [("registry", "ready"), ("db", "")])
    assert text == "NAME      STATE\nregistry  ready\ndb"


def test_values_become_json() -> None:
    thing = Thing("a", dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
    assert json.loads(tables.as_json([thing])) == [{"name": "a", "at": "2026-01-05 00:00:00+00:00"}]
    assert json.loads(tables.as_json(thing))["name"] == "a"


def test_members_of_enumerations_are_words_in_json() -> None:
    found = tables.as_json({"kind": Kind.PROVIDER, "severity": [Severity.ERROR]})
    assert json.loads(found) == {"kind": "provider", "severity": ["ERROR"]}


def test_rows_that_come_one_by_one_stand_under_their_heads() -> None:
    lines: list[str] = []
    table = tables.GrowingTable(("symbol", "price"), lines.append)
    table.add(("BTC/USD", 1.5))
    table.add(("A", 20))
    assert lines == ["symbol   price", "BTC/USD  1.5", "A        20"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (None, "")],
)
def test_durations_are_told_in_their_two_greatest_units(seconds: float | None, text: str) -> None:
    assert tables.span(seconds) == text


def test_sizes_and_moments_are_short() -> None:
    assert tables.size(50 * 1024 * 1024) == "50 MiB"
    assert tables.size(None) == ""
    moment = dt.datetime(2026, 1, 5, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert tables.moment(moment) == "2026-01-05 00:02"
    assert tables.moment(None) == ""
