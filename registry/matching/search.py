"""Finding like symbols among hundreds of thousands: an index of trigrams in numpy arrays.

Set-similarity search with prefix filtering (Chaudhuri, Ganti, Kaushik, "A primitive operator for similarity
joins in data cleaning", ICDE 2006): two sets that reach a Jaccard similarity share a token beyond the most
frequent ones of either, so the longest lists are never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry.matching.trigrams import trigrams

_SLACK: Final = 1e-6
_LONG: Final = 4000
"""A token with more symbols gets a map of them; a search in its list would cost more."""
Indices = npt.NDArray[np.int32]


class SymbolIndex:
    """The trigrams of distinct symbols."""

    def __init__(self, symbols: Sequence[str], floor: float) -> None:
        """Index symbols.

        Args:
            symbols: Distinct; their positions are what a search returns.
            floor: The least similarity that searches ask for.
        """
        self._floor = floor
        self._tokens: dict[str, int] = {}
        starts, owners = [0], []
        for symbol in symbols:
            found = [self._tokens.setdefault(token, len(self._tokens)) for token in trigrams(symbol)]
            owners.extend(found)
            starts.append(len(owners))
        tokens = np.asarray(owners, dtype=np.int32)
        self._sizes: npt.NDArray[np.int16] = np.diff(np.asarray(starts)).astype(np.int16)
        holder = np.repeat(np.arange(len(symbols), dtype=np.int32), self._sizes)
        order = np.argsort(tokens, kind="stable")
        bounds = np.searchsorted(tokens[order], np.arange(len(self._tokens) + 1))
        self._postings = [holder[order[bounds[i] : bounds[i + 1]]] for i in range(len(self._tokens))]
        self._maps: dict[int, npt.NDArray[np.bool_]] = {}

    def similar(self, symbol: str) -> tuple[Indices, npt.NDArray[np.float32]]:
        """Return the positions of the symbols that are at least `floor` alike, and how alike they are, in no order."""
        wanted = trigrams(symbol)
        known = sorted((len(self._postings[n]), n) for n in map(self._tokens.get, wanted) if n is not None)
        needed = math.ceil(self._floor * len(wanted) - _SLACK)
        if not wanted or len(known) < needed:
            return _NOTHING
        # A symbol that shares only the `needed - 1` most frequent tokens cannot reach the floor: they are not read.
        read = known[: len(known) - (needed - 1)] if needed > 1 else known
        found, counts = np.unique(np.concatenate([self._postings[n] for _, n in read]), return_counts=True)
        for _, token in known[len(read) :]:
            counts += self._holding(token, found)
        union = (len(wanted) + self._sizes[found] - counts).astype(np.float32)
        alike = counts.astype(np.float32) / union
        keep = alike >= np.float32(self._floor)
        return found[keep], alike[keep]

    def _holding(self, token: int, found: Indices) -> npt.NDArray[np.bool_]:
        """Return for each of some symbols, in ascending order, whether it has a token."""
        postings = self._postings[token]
        if len(postings) < _LONG:
            places = np.searchsorted(postings, found)
            places[places == len(postings)] = 0
            held: npt.NDArray[np.bool_] = postings[places] == found
            return held
        if token not in self._maps:
            self._maps[token] = np.zeros(len(self._sizes), dtype=np.bool_)
            self._maps[token][postings] = True
        return self._maps[token][found]


_NOTHING: Final[tuple[Any, Any]] = (np.empty(0, np.int32), np.empty(0, np.float32))
