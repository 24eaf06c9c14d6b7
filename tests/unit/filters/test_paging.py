"""Page sizes and page tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument, InvalidCursor
from quasar.paging import page_key, page_size, page_token

QUERY = ("ListEvents", "severity >= WARNING", "event_id")


@given(st.lists(st.text(max_size=20) | st.integers(), min_size=1, max_size=4))
def test_a_token_gives_its_key_back(key: list[str | int]) -> None:
    assert page_key(QUERY, page_token(QUERY, key)) == key


def test_the_first_page_has_no_token() -> None:
    assert page_key(QUERY, "") is None


@pytest.mark.parametrize(
    "other",
    [
        ("ListOperations", "severity >= WARNING", "event_id"),
        ("ListEvents", "severity >= ERROR", "event_id"),
        ("ListEvents", "severity >= WARNING", "event_id desc"),
    ],
)
def test_a_token_of_another_query_is_refused(other: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidCursor, match="must be used with the same filter and ordering") as caught:
        page_key(QUERY, page_token(other, [7]))

    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(st.data())
def test_a_token_that_was_changed_is_refused(data: st.DataObject) -> None:
    token = page_token(QUERY, ["2026-01-31", 7])
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCDEFabcdef0123-_"))
    changed = token[:place] + letter + token[place + 1 :]

    if changed != token and not _same_bytes(changed, token):
        with pytest.raises(InvalidCursor):
            page_key(QUERY, changed)


def _same_bytes(one: str, other: str) -> bool:
    """The last letter of base64 has bits that mean nothing."""
    return one[:-1] == other[:-1]


@pytest.mark.parametrize("token", ["x", "****", "eyJhIjoxfQ", "W10", "WyJhIl0", "W1tdLFtdLFtdXQ", "a" * 2048])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidCursor, match="must be the next_page_token of the page before, unchanged"):
        page_key(QUERY, token)


def test_a_page_has_50_rows_unless_asked_otherwise_and_1000_at_most() -> None:
    assert (page_size(0), page_size(7), page_size(1000)) == (50, 7, 1000)

    for wrong in (-1, 1001):
        with pytest.raises(InvalidArgument, match=f"must be from 0 to 1000 .* was {wrong}"):
            page_size(wrong)
