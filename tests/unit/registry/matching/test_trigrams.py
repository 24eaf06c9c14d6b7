from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.matching.search import SymbolIndex
from registry.matching.trigrams import similarity, trigrams

SYMBOLS = st.text(alphabet="ABC./ 1", min_size=0, max_size=8)


def test_words_stand_between_blanks() -> None:
    assert trigrams("Ab.c") == {"  a", " ab", "ab ", "  c", " c "}


def test_the_similarity_is_shared_over_all_trigrams() -> None:
    assert round(similarity("ABCDEFGH", "ABCDEFGHI"), 6) == round(8 / 11, 6)
    assert similarity("abc", "ABC") == 1.0
    assert similarity("", "abc") == 0.0


@given(st.lists(SYMBOLS, min_size=1, max_size=30, unique=True), SYMBOLS)
def test_a_search_finds_exactly_what_comparing_with_every_symbol_finds(symbols: list[str], wanted: str) -> None:
    found, alike = SymbolIndex(symbols, 0.35).similar(wanted)
    told = dict(zip(found.tolist(), alike.tolist(), strict=True))
    expected = {i: s for i, symbol in enumerate(symbols) if (s := similarity(wanted, symbol)) >= 0.35}
    assert told == expected
