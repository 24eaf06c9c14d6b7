"""How the command line shows values: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows in columns under their heads."""
    texts = [[str(value) for value in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in texts]
    return "\n".join(lines)


class GrowingTable:
    """A table whose rows are shown as they come; a column grows with its widest value so far."""

    def __init__(self, heads: Sequence[str], show: Callable[[str], None]) -> None:
        """Show the heads before the first row."""
        self._heads = heads
        self._show = show
        self._widths = [len(head) for head in heads]
        self._begun = False

    def add(self, row: Sequence[object]) -> None:
        """Show a row."""
        texts = [str(value) for value in row]
        self._widths = [max(width, len(text)) for width, text in zip(self._widths, texts, strict=True)]
        if not self._begun:
            self._begun = True
            self._line(self._heads)
        self._line(texts)

    def _line(self, texts: Sequence[str]) -> None:
        self._show("  ".join(text.ljust(width) for text, width in zip(texts, self._widths, strict=True)).rstrip())


def as_json(value: object) -> str:
    """Return a value as JSON, dataclasses as objects, members of enumerations as words."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str)


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value


def size(count: int | None) -> str:
    """Return bytes for people."""
    return "" if count is None else f"{count / (1024 * 1024):.0f} MiB"


def span(seconds: float | None) -> str:
    """Return a duration for people, in its two greatest units."""
    if seconds is None:
        return ""
    left, parts = int(seconds), []
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def moment(instant: dt.datetime | None) -> str:
    """Return a time for people, to the minute, in UTC."""
    return "" if instant is None else f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M}"
