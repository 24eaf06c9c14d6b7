"""Orderings of lists."""

from __future__ import annotations

import pytest

from quasar.errors import InvalidCursor, InvalidFilter
from quasar.ordering import OrderField, ordering

FIELDS = {"name": OrderField("t.name"), "create_time": OrderField("t.created_at", "timestamptz")}
TIE = (OrderField("t.id", "bigint"),)


def order(text: str) -> str:
    """Return the ORDER BY of an `order_by`."""
    return ordering(text, FIELDS, default="name", tie=TIE).clause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t.name, t.id"),
        ("create_time desc", "t.created_at DESC, t.id DESC"),
        ("name asc, create_time desc", "t.name, t.created_at DESC, t.id DESC"),
        (" name ,create_time ", "t.name, t.created_at, t.id"),
    ],
)
def test_an_order_is_made_total_by_its_tie(text: str, expected: str) -> None:
    assert order(text) == expected


@pytest.mark.parametrize("text", ["size", "name up", "name, name", "name,", "name desc asc", "t.name; DROP TABLE t"])
def test_what_may_not_be_ordered_by_is_refused_with_what_may(text: str) -> None:
    with pytest.raises(InvalidFilter, match="order_by must name each of name, create_time at most once"):
        order(text)


def test_a_page_goes_on_after_the_last_row_of_the_one_before() -> None:
    same = ordering("name", FIELDS, default="name", tie=TIE).after(["b", "7"], first_parameter=2)
    mixed = ordering("name, create_time desc", FIELDS, default="name", tie=TIE)
    after = mixed.after(["b", "2026-01-31T00:00:00+00:00", "7"], first_parameter=1)

    assert same.sql == "(t.name, t.id) > ($2::text::text, $3::text::bigint)"
    assert same.parameters == ("b", "7")
    assert after.sql.startswith("((t.name > $1::text::text) OR (t.name = $1::text::text AND t.created_at < ")


def test_a_place_of_another_order_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        ordering("name", FIELDS, default="name", tie=TIE).after(["b"], first_parameter=1)
