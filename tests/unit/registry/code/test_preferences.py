from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from registry.code.fields import field_of, platform_fields, schema
from registry.code.preferences import effective, leaves, merged, missing
from registry.code.refs import CodeKind


def field(path: str, kind: str = "INTEGER", **rules: Any) -> Any:
    return field_of({"path": path, "type": f"PREFERENCE_TYPE_{kind}", **rules})


FIELDS = (
    field("scheduling.delay_hours", default_value=0, minimum=0, maximum=24),
    field("scheduling.pre_close_seconds", default_value=30, minimum=0, maximum=300),
    field("crypto.preferred_quote_currency", "STRING", default_value=None, nullable=True, max_length=5),
    field("symbols", "LIST", item_type="PREFERENCE_TYPE_STRING", max_length=3, allowed=["A", "B", "C"]),
    field("account", "STRING", required=True),
)


def change(stored: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return merged(FIELDS, stored, wanted, name="provider 'alpha'")


def problems(wanted: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as raised:
        change({}, wanted)
    return {violation.field: violation.description for violation in raised.value.violations}


def test_a_change_merges_at_every_depth_and_leaves_what_is_stored_untouched() -> None:
    stored = {"scheduling": {"delay_hours": 2}, "symbols": ["A", "B"]}

    after = change(stored, {"scheduling": {"pre_close_seconds": 10.0}, "symbols": ["C"]})

    assert after == {"scheduling": {"delay_hours": 2, "pre_close_seconds": 10}, "symbols": ["C"]}
    assert stored == {"scheduling": {"delay_hours": 2}, "symbols": ["A", "B"]}


def test_whole_numbers_are_stored_without_a_fraction() -> None:
    assert str(change({}, {"scheduling": {"delay_hours": 7.0}})) == "{'scheduling': {'delay_hours': 7}}"


def test_null_takes_a_value_a_group_and_a_field_that_is_no_longer_declared_away() -> None:
    stored = {"scheduling": {"delay_hours": 2, "pre_close_seconds": 9}, "former": {"field": 1}, "account": "x"}

    assert change(stored, {"scheduling": {"delay_hours": None}})["scheduling"] == {"pre_close_seconds": 9}
    assert change(stored, {"scheduling": None, "former": {"field": None}}) == {"account": "x"}


@pytest.mark.parametrize(
    ("wanted", "path", "words"),
    [
        ({"scheduling": {"delay_hours": 99}}, "scheduling.delay_hours", "must be between 0 and 24, was 99"),
        ({"scheduling": {"delay_hours": 1.5}}, "scheduling.delay_hours", "must be a whole number, was 1.5"),
        ({"scheduling": {"delay_hours": True}}, "scheduling.delay_hours", "must be a whole number, was true"),
        ({"scheduling": {"delay_hours": float("nan")}}, "scheduling.delay_hours", "must be a whole number, was nan"),
        ({"scheduling": {"delay_hours": 1e300}}, "scheduling.delay_hours", "must be a whole number, was 1e+300"),
        ({"account": "x" * 1001}, "account", "must have at most 1000 characters, had 1001"),
        ({"crypto": {"preferred_quote_currency": "DOLLAR"}}, "crypto.preferred_quote_currency", "must have at most 5"),
        ({"symbols": "A"}, "symbols", "must be a list, was 'A'"),
        ({"symbols": ["A", "X"]}, "symbols", "must hold items that each be one of 'A', 'B', 'C', was 'X'"),
        ({"symbols": ["A", "B", "C", "A"]}, "symbols", "must have at most 3 items, had 4"),
        ({"scheduling": 3}, "scheduling", "must be a group that holds"),
        ({"scheduling": {"delay_hourz": 1}}, "scheduling.delay_hourz", "must be a field that provider 'alpha' takes"),
        ({"nothing": None}, "nothing", "must be a field that provider 'alpha' takes"),
        ({}, "preferences", "must name at least one field to change"),
    ],
)
def test_what_cannot_be_taken_is_named_with_its_value_and_what_is_allowed(
    wanted: dict[str, Any], path: str, words: str
) -> None:
    found = problems(wanted)

    assert list(found) == [path]
    assert found[path].startswith(words)


def test_every_wrong_field_is_named_not_only_the_first() -> None:
    assert sorted(problems({"scheduling": {"delay_hours": 99}, "colour": 1, "account": "fine"})) == [
        "colour",
        "scheduling.delay_hours",
    ]


def test_defaults_hold_where_nothing_legal_is_stored() -> None:
    stored = {"scheduling": {"delay_hours": 99, "pre_close_seconds": 5}, "former": 1}

    held = effective(FIELDS, stored)

    assert held.values["scheduling"] == {"delay_hours": 0, "pre_close_seconds": 5}
    assert held.values["crypto"] == {"preferred_quote_currency": None}
    assert held.ignored == ("former", "scheduling.delay_hours")


def test_a_required_field_is_missing_until_something_legal_is_stored() -> None:
    assert missing(FIELDS, {}) == missing(FIELDS, {"account": 5}) == ("account",)
    assert missing(FIELDS, {"account": "mine"}) == ()


NESTED: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["scheduling", "delay_hours", "account", "x"]), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["scheduling", "symbols", "account", "x"]), NESTED, max_size=4))
def test_whatever_is_sent_is_merged_or_refused_and_what_is_merged_is_legal(wanted: dict[str, Any]) -> None:
    try:
        after = change({}, wanted)
    except InvalidArgument:
        return
    known = {one.path: one for one in FIELDS}
    assert all(known[path].problem(value) is None for path, value in leaves(after))


@pytest.mark.parametrize(
    ("kind", "capabilities", "paths"),
    [
        (CodeKind.PROVIDER, ["HISTORICAL"], ["scheduling.delay_hours", "data.lookback_days"]),
        (CodeKind.PROVIDER, ["LIVE"], ["scheduling.pre_close_seconds", "scheduling.post_close_seconds"]),
        (CodeKind.PROVIDER, ["INDEX"], ["scheduling.sync_frequency"]),
        (CodeKind.BROKER, [], []),
    ],
)
def test_the_platform_gives_fields_by_kind_and_capability(
    kind: CodeKind, capabilities: list[str], paths: list[str]
) -> None:
    found = [one.path for one in platform_fields(kind, capabilities)]

    assert found == ["crypto.preferred_quote_currency", *paths]


def test_a_strategy_has_its_own_parameters_only() -> None:
    assert [one.path for one in schema(CodeKind.STRATEGY, [], [field("fast")])] == ["fast"]


def test_a_class_may_declare_a_field_of_the_platform_for_another_default() -> None:
    own = field("scheduling.delay_hours", default_value=6, minimum=0, maximum=24)

    found = schema(CodeKind.PROVIDER, ["HISTORICAL"], [own, field("depth")])

    assert [one.path for one in found] == [
        "crypto.preferred_quote_currency",
        "scheduling.delay_hours",
        "data.lookback_days",
        "depth",
    ]
    assert found[1].default == 6
