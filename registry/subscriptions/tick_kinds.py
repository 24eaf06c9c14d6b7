"""Kinds of ticks in the words of the contract: TRADE, QUOTE, BOOK_TOP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from quasar.model.ticks import TickKind

_SPOKEN: Final = {"TRADE": "trades", "QUOTE": "quotes", "BOOK_TOP": "tops of the order book"}


def spoken(words: Iterable[str]) -> str:
    """Return kinds as people say them."""
    return " and ".join(_SPOKEN.get(word, word.lower()) for word in words)


def number_of(word: str) -> int:
    """Return the number that the contract gives a kind."""
    return int(TickKind[word])


def word_of(number: int) -> str:
    """Return the word of a number of the contract."""
    return TickKind(number).name
