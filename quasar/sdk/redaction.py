"""Keeps the values of a plug-in's own secrets out of texts that people will read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

from quasar import scrub

_SHORTEST = 4
"""Shorter values occur in ordinary text; hiding them would make messages unreadable and hide nothing."""


class Redaction:
    """Replaces the values of secrets, as they are and as they stand in URLs, by `***`."""

    def __init__(self, values: Callable[[], Iterable[str]] = tuple) -> None:
        """Hide what `values` returns at the time of each call."""
        self._values = values

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for value in self._values():
            if len(value) >= _SHORTEST:
                text = text.replace(value, scrub.HIDDEN).replace(quote(value, safe=""), scrub.HIDDEN)
        return scrub.text(text)
