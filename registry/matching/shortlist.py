"""The fuzzy phase: for each asset the few identities with a like symbol that can reach the floor of a proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry.matching.candidates import EXCHANGE_POINTS, NAME_POINTS, SYMBOL_FLOOR, Subject
from registry.matching.search import SymbolIndex

LONGEST: Final = 20
"""Identities of an asset that are looked at closely: the best ones by what symbol and exchange give."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A symbol of an identity."""

    identity_row: int
    symbol: str
    exchange: str


class Shortlists:
    """The identities of one group, ready to be searched."""

    def __init__(self, listed: Sequence[Listed]) -> None:
        """Index the symbols of identities; one with aliases comes several times."""
        positions: dict[str, int] = {}
        keys = np.fromiter(
            (positions.setdefault(each.symbol, len(positions)) for each in listed), np.int32, len(listed)
        )
        self._index = SymbolIndex(list(positions), SYMBOL_FLOOR)
        order = np.argsort(keys, kind="stable")
        self._bounds = np.searchsorted(keys[order], np.arange(len(positions) + 1))
        self._rows = np.fromiter((each.identity_row for each in listed), np.int64, len(listed))[order]
        self._codes: dict[str, int] = {}
        exchanges = (self._codes.setdefault(each.exchange, len(self._codes)) for each in listed)
        self._exchanges = np.fromiter(exchanges, np.int32, len(listed))[order]

    def of(self, subject: Subject, floor: float) -> list[tuple[int, float]]:
        """Return the rows of identities and the similarity of their symbols, best first.

        Args:
            subject: The asset.
            floor: The confidence that a candidate must be able to reach.
        """
        found, alike = self._index.similar(subject.symbol)
        if not len(found):
            return []
        sizes = self._bounds[found + 1] - self._bounds[found]
        likeness = np.repeat(alike, sizes)
        rows = _ranges(self._bounds[found], sizes)
        same = self._exchanges[rows] == self._codes.get(subject.exchange, -1) if subject.exchange else False
        reach = _points(likeness) + np.where(same, EXCHANGE_POINTS, 0.0)
        worth = np.flatnonzero(reach + NAME_POINTS >= floor)
        best = worth[np.lexsort((self._rows[rows[worth]], -reach[worth]))][:LONGEST]
        return list(zip(self._rows[rows[best]].tolist(), likeness[best].tolist(), strict=True))


def _points(alike: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the points for like symbols, for many at once; see `registry.matching.candidates.symbol_points`."""
    return np.where(alike > 0.8, 80.0, np.where(alike > 0.6, 60.0, 50.0 * alike))


def _ranges(starts: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers of several ranges, one after the other."""
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)
    found: npt.NDArray[np.int64] = np.arange(int(sizes.sum()), dtype=np.int64) + offsets
    return found
