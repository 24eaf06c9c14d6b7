"""Filters of tables, as k9s has them: `/text` (a regular expression), `/!text` the inverse, `/-f text` fuzzy."""

from __future__ import annotations

import re
from collections.abc import Callable

Matches = Callable[[str], bool]


def compiled(text: str) -> Matches:
    """Return what a filter lets through; a malformed expression is taken as plain text."""
    wanted = text.strip()
    if not wanted:
        return lambda _: True
    if wanted.startswith("-f "):
        letters = [letter for letter in wanted[3:].lower() if not letter.isspace()]
        return lambda row: _fuzzy(letters, row.lower())
    inverse = wanted.startswith("!")
    expression = wanted[1:] if inverse else wanted
    try:
        pattern = re.compile(expression, re.IGNORECASE)
    except re.error:
        pattern = re.compile(re.escape(expression), re.IGNORECASE)
    return lambda row: bool(pattern.search(row)) is not inverse


def _fuzzy(letters: list[str], row: str) -> bool:
    place = 0
    for letter in letters:
        place = row.find(letter, place) + 1
        if place == 0:
            return False
    return True
