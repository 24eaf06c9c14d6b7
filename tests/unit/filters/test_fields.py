"""What values of a filter have to be, by the type of their field."""

from __future__ import annotations

import datetime as dt

import pytest

from quasar.errors import InvalidFilter
from quasar.filters import Field, condition, predicate

FIELDS = {
    "name": Field("t.name"),
    "rows": Field("t.rows", "integer"),
    "weight": Field("t.weight", "number"),
    "time": Field("t.time", "time"),
    "severity": Field("t.severity", "enum", ("INFO", "WARNING", "ERROR")),
    "tags": Field("t.tags", "list"),
    "classes": Field("t.classes", "list", ("CRYPTO", "EQUITY")),
}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("size = 1", "must name one of classes, name, rows, severity, tags, time, weight at column 1, was 'size'"),
        ('name="a" AND size=1', "at column 14, was 'size'"),
        ("rows = many", "rows must be a whole number at column 8, was 'many'"),
        ("rows = 1.5", "must be a whole number at column 8, was '1.5'"),
        ("rows = 9223372036854775808", "must be a whole number"),
        ("weight = NaN", "weight must be a number at column 10, was 'NaN'"),
        ("weight = inf", "must be a number"),
        ("time > 2026-01-31", "time must be an RFC 3339 time with its zone at column 8, was '2026-01-31'"),
        ('time > "0001-01-01T00:00:00+23:00"', "must be an RFC 3339 time"),
        ("severity = FATAL", "severity must be one of INFO, WARNING, ERROR at column 12, was 'FATAL'"),
        ("rows : 3", "must not use ':' on rows at column 1, which is no text"),
        ("tags < a", "tags must be compared with =, != or : at column 1, was '<'"),
        ("classes = BONDS", "classes must be one of CRYPTO, EQUITY at column 11, was 'BONDS'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(text: str, complaint: str) -> None:
    for read in (condition, predicate):
        with pytest.raises(InvalidFilter, match=complaint):
            read(text, FIELDS)


def test_no_text_of_a_filter_stands_in_the_sql() -> None:
    found = condition('name = "x\'; DROP TABLE t; --" AND tags : "\'"', FIELDS, first_parameter=3)

    assert found.sql == ("(t.name = $3::text AND EXISTS (SELECT FROM unnest(t.tags) item WHERE item ILIKE $4::text))")
    assert found.parameters == ("x'; DROP TABLE t; --", "%'%")


def test_what_a_list_holds_can_be_looked_up_instead_of_making_the_list() -> None:
    fields = {"tags": Field("t.tags", "list", holds="t.id = ANY (tagged({value}))")}

    held, lacking = condition("tags = a", fields), condition("tags != a", fields)

    assert (held.sql, held.parameters) == ("t.id = ANY (tagged($1::text))", ("a",))
    assert lacking.sql == "((t.id = ANY (tagged($1::text))) IS NOT TRUE)"
    assert "unnest(t.tags)" in condition("tags : a", fields).sql


def test_what_means_something_in_a_pattern_is_taken_literally() -> None:
    assert condition("name : 50%_\\", FIELDS).parameters == ("%50\\%\\_\\\\%",)
    assert condition('name = "a_b*"', FIELDS).parameters == ("a\\_b%",)


def test_an_empty_filter_is_a_condition_that_everything_meets() -> None:
    assert condition("", FIELDS).sql == "true"
    assert predicate(" ", FIELDS)({})


def test_a_field_may_bring_values_into_the_form_that_is_stored() -> None:
    fields = {"symbol": Field("lower(t.symbol)", convert=str.lower)}

    assert condition("symbol = BTC", fields).parameters == ("btc",)
    assert predicate("symbol = BTC", fields)({"symbol": "btc"})


def test_what_is_not_known_is_found_by_an_empty_value_where_the_field_says_so() -> None:
    fields = {"expiry": Field("t.expiry", "time", nullable=True)}

    assert condition('expiry = ""', fields).sql == "t.expiry IS NULL"
    assert condition('expiry != ""', fields).sql == "t.expiry IS NOT NULL"
    known, unknown = ({"expiry": value} for value in (dt.datetime(2026, 1, 31, tzinfo=dt.UTC), None))
    for text, row, passes in (('= ""', known, False), ('= ""', unknown, True), ('!= ""', known, True)):
        assert predicate(f"expiry {text}", fields)(row) is passes
    with pytest.raises(InvalidFilter):
        condition('expiry < ""', fields)
