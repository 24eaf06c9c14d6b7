"""How the command line shows values: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows in columns under their heads."""
    texts = [[str(value) for value in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in texts]
    return "\n".join(lines)


def as_json(value: object) -> str:
    """Return a value as JSON, dataclasses as objects."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
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
