"""The grammar of filters, and what it says when it is broken."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidFilter
from quasar.filters.syntax import All, AnyOf, Comparison, Expression, Not, parse


def shape(tree: Expression | None) -> str:
    """Return a tree as a text with all its brackets."""
    match tree:
        case All(parts):
            return "[" + " & ".join(map(shape, parts)) + "]"
        case AnyOf(parts):
            return "[" + " | ".join(map(shape, parts)) + "]"
        case Not(part):
            return f"!{shape(part)}"
        case Comparison():
            return f"{tree.field}{tree.operator}{tree.value}"
    return ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("   ", ""),
        ("a=1", "a=1"),
        ("a = 1", "a=1"),
        ('a="1"', "a=1"),
        ("name:btc", "name:btc"),
        ("a.b >= 2026-01-31T00:00:00Z", "a.b>=2026-01-31T00:00:00Z"),
        ("a=1 AND b=2 AND c=3", "[a=1 & b=2 & c=3]"),
        ("a=1 AND b=2 OR c=3", "[a=1 & [b=2 | c=3]]"),
        ("(a=1 AND b=2) OR c=3", "[[a=1 & b=2] | c=3]"),
        ("NOT a=1", "!a=1"),
        ("-a:x", "!a:x"),
        ("a=-1", "a=-1"),
        ("NOT (a=1 OR NOT b=2)", "![a=1 | !b=2]"),
        ('a="x AND b=\\"2\\""', 'a=x AND b="2"'),
        ('a="\\\\"', "a=\\"),
        ('a=""', "a="),
        ("a!=1", "a!=1"),
        ("order=1 AND android=2", "[order=1 & android=2]"),
        ("and=1", "and=1"),
        ("NOT=1", "NOT=1"),
    ],
)
def test_a_filter_is_read_as_aip_160_has_it(text: str, expected: str) -> None:
    assert shape(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "must have one of = != < <= > >= : after a at column 2, was the end"),
        ("a=", "must have a value after a = at column 3, was the end"),
        ("=1", "must have a field at column 1, was '=1'"),
        ("a=1 b=2", "must end or go on with AND or OR at column 5, was 'b=2'"),
        ("a=1 AND", "must have a field at column 8, was the end"),
        ("a=1 and b=2", "must end or go on with AND or OR at column 5, was 'and b=2'"),
        ("(a=1", r"must have a '\)' for the '\(' at column 1"),
        ("a=1)", "must end or go on with AND or OR at column 4"),
        ('a="x', "must have a closing quote for the one at column 3"),
        ("a=1 OR OR b=2", "must have one of .* after OR at column 11"),
        ('a="\x00"', "must not contain the character NUL, was at column 4"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, complaint: str) -> None:
    with pytest.raises(InvalidFilter, match=complaint) as caught:
        parse(text)

    assert [violation.field for violation in caught.value.violations] == ["filter"]


@pytest.mark.parametrize("text", ["(" * 1000 + "a=1" + ")" * 1000, "NOT " * 500 + "a=1", "-" * 2000 + "a=1"])
def test_a_filter_nested_beyond_reason_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter, match="must be nested at most 32 deep"):
        parse(text)


def test_a_filter_with_too_many_comparisons_is_refused() -> None:
    parse(" AND ".join(["a=1"] * 50))

    with pytest.raises(InvalidFilter, match="must have at most 50 comparisons"):
        parse(" AND ".join(["a=1"] * 51))


@given(st.text(alphabet='ab=<>!:"()- \\AND ORNOT1*%\x00é', max_size=60))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with suppress(InvalidFilter):  # and nothing else
        parse(text)


@given(st.text(max_size=30).filter(lambda text: "\x00" not in text))
def test_any_text_can_be_quoted(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')

    assert parse(f'a="{quoted}"') == Comparison("a", "=", value, 1, 3)
