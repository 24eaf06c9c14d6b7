from __future__ import annotations

import pytest

from quasar.errors import InvalidFilter
from registry.store.ordering import OrderField, Ordering, ordering

FIELDS = {"name": OrderField("t.name"), "size": OrderField("t.size", "bigint")}
TIE = (OrderField("t.id", "uuid"),)


def test_a_tie_makes_the_order_total_in_the_direction_of_the_last_field() -> None:
    assert ordering("", FIELDS, default="name", tie=TIE).clause == "t.name, t.id"
    assert ordering("size desc", FIELDS, default="name", tie=TIE).clause == "t.size DESC, t.id DESC"


def test_one_direction_goes_on_with_a_row_comparison_that_an_index_can_answer() -> None:
    after = ordering("name desc", FIELDS, default="name", tie=TIE).after(["x", "1"], first_parameter=4)

    assert after.sql == "(t.name, t.id) < ($4::text::text, $5::text::uuid)"
    assert after.parameters == ("x", "1")


def test_mixed_directions_go_on_field_by_field() -> None:
    after = ordering("name, size desc", FIELDS, default="name", tie=()).after(["x", 5], first_parameter=1)

    assert after.sql == "((t.name > $1::text::text) OR (t.name = $1::text::text AND t.size < $2::text::bigint))"


@pytest.mark.parametrize(("falls", "compare"), [(False, ">"), (True, "<")])
def test_fields_of_several_tables_are_bounded_by_the_first_one_too(falls: bool, compare: str) -> None:
    terms = tuple((field, falls) for field in (FIELDS["name"], FIELDS["size"]))

    after = Ordering(terms, parted=True).after(["x", 5], first_parameter=3)

    assert after.sql == (
        f"t.name {compare}= $3::text::text and (t.name, t.size) {compare} ($3::text::text, $4::text::bigint)"
    )
    assert after.parameters == ("x", "5")


@pytest.mark.parametrize("text", ["colour", "name, name", "name up", "name desc desc", ",", "name,"])
def test_an_order_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter, match="order_by must name each of name, size"):
        ordering(text, FIELDS, default="name", tie=TIE)


def test_a_place_of_another_order_is_refused() -> None:
    with pytest.raises(InvalidFilter, match="page_token"):
        ordering("name", FIELDS, default="name", tie=TIE).after(["x"], first_parameter=1)
