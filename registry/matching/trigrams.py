"""Similarity of texts by shared trigrams, with the very figures of PostgreSQL's pg_trgm.

A text is cut into words of letters and digits; each word stands between two blanks before and one behind; the
similarity of two texts is the number of trigrams they share over the number they have together (Jaccard). Texts
are folded to ASCII first, see `registry.assets.symbols.name_key`. Source: PostgreSQL manual, F.35 "pg_trgm".
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

_WORD: Final = re.compile(r"[a-z0-9]+")


def trigrams(text: str) -> frozenset[str]:
    """Return the trigrams of a text."""
    found: set[str] = set()
    for word in _WORD.findall(text.lower()):
        padded = f"  {word} "
        found.update(padded[i : i + 3] for i in range(len(word) + 1))
    return frozenset(found)


def similarity(first: str, second: str) -> float:
    """Return the similarity of two texts, 0 to 1, in the single precision that the database computes with."""
    return shared_of(trigrams(first), trigrams(second))


def shared_of(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the similarity of two sets of trigrams."""
    if not first or not second:
        return 0.0
    shared = len(first & second)
    return float(np.float32(shared) / np.float32(len(first) + len(second) - shared))
