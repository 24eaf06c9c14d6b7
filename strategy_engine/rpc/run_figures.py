"""The full statistics of a run up to now, from its marks of equity, its fills and its round trips."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from quasar.model.instants import from_ns, to_ns
from quasar.model.orders import Fill
from quasar_proto.strategy.v1 import statistics_pb2
from strategy_engine.backtests.figures import Ground, figures, periods_per_year
from strategy_engine.backtests.records import EquityColumns, FillRecord, TradeRecord
from strategy_engine.rpc.statistics_messages import statistics_message
from strategy_engine.trading.round_trips import RoundTrip


def statistics_of(
    row: Any, marks: Any, curve: Sequence[Any], fills: Sequence[Fill], trips: Sequence[RoundTrip]
) -> statistics_pb2.Statistics:
    """Return the figures of a run.

    Args:
        row: The run.
        marks: What `InstanceTable.run_marks` says; None: nothing was marked, and only counts can be told.
        curve: Marks of its equity, oldest first.
        fills: Its fills.
        trips: Its round trips, open ones at their marks.
    """
    columns = {name: np.array([float(each[name] or 0) for each in curve]) for name in ("equity", *_EXPOSURES)}
    times = np.array([to_ns(each["time"]) for each in curve], dtype=np.int64)
    calendars = [str(each.get("calendar", "")) for each in row["series"]]
    intervals = [str(each.get("series", {}).get("interval", "")) for each in row["series"]]
    ground = Ground(
        currency=marks["currency"] if marks else row["capital_currency"] or "",
        initial=marks["initial"] if marks else row["capital"] or Decimal(0),
        final=marks["equity"] if marks else None,
        equity=EquityColumns(times, columns),
        fills=[_fill(each) for each in fills],
        trades=[_trade(each) for each in trips],
        periods_per_year=periods_per_year(calendars, intervals),
        first_open_ns=to_ns(row["started_at"]),
        counts={"orders": row["orders"], "denied_orders": row["denied_orders"]},
    )
    found = figures(ground)
    return statistics_message({**found, "bars": row["metrics"].get("bars", 0)})


_EXPOSURES = ("net_exposure", "gross_exposure")


def _fill(fill: Fill) -> FillRecord:
    return FillRecord(
        client_order_id=fill.client_order_id,
        symbol=fill.symbol,
        side=fill.side.value,
        quantity=fill.quantity,
        price=fill.price,
        commission=fill.commission,
        time=from_ns(fill.fill_time_ns),
        document={},
    )


def _trade(trip: RoundTrip) -> TradeRecord:
    priced = trip.exit is not None or trip.mark is not None
    return TradeRecord(
        symbol=trip.entry.symbol,
        side="LONG" if trip.long else "SHORT",
        quantity=trip.quantity,
        entry_time=trip.entry_time,
        entry_price=trip.entry.price,
        commission=trip.commission,
        exit_time=None if trip.exit is None else from_ns(trip.exit.fill_time_ns),
        exit_price=None if trip.exit is None else trip.exit.price,
        profit=trip.net_profit if priced else None,
        return_ratio=trip.return_ratio if priced else 0.0,
        document={},
    )
