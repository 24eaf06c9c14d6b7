"""Figures as a message: each field of the contract's `Statistics` from the figure of the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from quasar_proto.strategy.v1 import statistics_pb2

_DURATIONS = frozenset({"duration", "max_drawdown_duration", "average_drawdown_duration"}) | {
    "average_trade_duration",
    "max_trade_duration",
}
_TIMES = frozenset({"start_time", "end_time", "peak_time", "trough_time", "recovery_time"})
_ENTRIES: Mapping[str, Callable[[], Any]] = {
    "Drawdown": statistics_pb2.Drawdown,
    "PeriodReturn": statistics_pb2.PeriodReturn,
    "SymbolStatistics": statistics_pb2.SymbolStatistics,
}


def statistics_message(figures: Mapping[str, Any]) -> statistics_pb2.Statistics:
    """Return figures as a message; amounts may be decimals or their text, times are nanoseconds, durations seconds."""
    message = statistics_pb2.Statistics()
    _fill(message, figures)
    return message


def _fill(message: Any, figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None or value is None:
            continue
        if name in _DURATIONS:
            getattr(message, name).FromNanoseconds(round(float(value) * 1e9))
        elif name in _TIMES:
            getattr(message, name).FromNanoseconds(int(value))
        elif isinstance(value, list):
            for each in value:
                entry = _ENTRIES[field.message_type.name]()
                _fill(entry, each)
                getattr(message, name).append(entry)
        elif field.message_type is not None:
            getattr(message, name).value = format(Decimal(str(value)), "f")
        else:
            setattr(message, name, value)
