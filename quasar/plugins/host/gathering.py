"""Single ticks to columns, quickly: this runs for every tick that is yielded one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np

from quasar.model.columns import MISSING
from quasar.model.ticks import Side, Tick, TickColumns, TickFlag, TickKind

_NUMBERS: Final = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
_INTEGERS: Final = ("venue_sequence", "trade_id", "receive_time_ns")
_FIELDS: Final = ("event_time_ns", *_NUMBERS, *_INTEGERS, "kind", "side", "flags", "trade_id_text")
_USUAL: Final = {"kind": TickKind.TRADE, "side": Side.UNKNOWN, "flags": TickFlag.NONE, "trade_id_text": ""}
"""Columns of which nothing is sent when every row has this value."""
_read = attrgetter(*_FIELDS)


def gather_ticks(ticks: Sequence[Tick], received: Sequence[int]) -> TickColumns:
    """Return ticks as columns, with the time of arrival where the tick has none.

    Args:
        ticks: At least one.
        received: When each of them arrived, nanoseconds UTC.

    Raises:
        TypeError: A field has another type than its column.
        ValueError: Likewise.
        OverflowError: A number does not fit.
    """
    # Transposing in C and counting the missing ones costs a third of asking each tick for each field.
    values: dict[str, Any] = dict(zip(_FIELDS, zip(*map(_read, ticks), strict=True), strict=True))
    count = len(ticks)
    columns: dict[str, Any] = {"event_time_ns": values["event_time_ns"]}
    for name in _NUMBERS:
        _add(columns, name, values[name], math.nan, count)
    for name in _INTEGERS:
        _add(columns, name, values[name], MISSING, count)
    for name, usual in _USUAL.items():
        if values[name].count(usual) != count:
            columns[name] = np.array(values[name], dtype=np.object_) if name == "trade_id_text" else values[name]
    given = columns.get("receive_time_ns")
    if given is None:
        columns["receive_time_ns"] = received
    elif MISSING in given:
        pairs = zip(given, received, strict=True)
        columns["receive_time_ns"] = [own if time == MISSING else time for time, own in pairs]
    return TickColumns(**columns)


def _add(columns: dict[str, Any], name: str, values: tuple[Any, ...], missing: float, count: int) -> None:
    absent = values.count(None)
    if absent == count:
        return
    columns[name] = [missing if value is None else value for value in values] if absent else values
