"""Back-tests side by side as a message."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import struct_pb2

from quasar.rpc.wellknown import struct
from quasar_proto.strategy.v1 import backtest_service_pb2 as pb
from strategy_engine.backtests.comparison import Compared, correlations, curves, differing, figure_names, numbers
from strategy_engine.rpc.backtest_messages import backtest_message
from strategy_engine.store.backtest_table import BacktestRow

_USUAL_ROWS: Final = 2_000


def settings_of(row: BacktestRow) -> dict[str, Any]:
    """Return everything of a back-test besides its results, as nested documents."""
    return {
        "strategy": row.strategy,
        "code_version": row.code_version,
        "code_sha256": row.code_sha256,
        "data_sha256": row.data_sha256,
        "engine_version": row.engine_version,
        "parameters": row.parameters,
        "universe": row.universe,
        "terms": row.terms,
    }


def comparison_message(
    rows: Sequence[BacktestRow], compared: Sequence[Compared], figures: Sequence[str], max_rows: int
) -> pb.CompareBacktestsResponse:
    """Return the comparison; the first back-test is the reference."""
    times, values = curves(compared, max_rows or _USUAL_ROWS)
    shown = [backtest_message(row, in_list=True) for row in rows]
    for each in shown:
        each.ClearField("series")
    return pb.CompareBacktestsResponse(
        backtests=shown,
        figures=[
            _figure(name, [numbers(each.figures).get(name) for each in compared])
            for name in figure_names(compared, figures)
        ],
        settings=[
            pb.ComparedSetting(path=path, values=[_value(each) for each in found])
            for path, found in differing(compared).items()
        ],
        time_ns=times.tolist(),
        curves=[
            pb.ComparedCurve(backtest_id=str(row.backtest_id), value=column.tolist())
            for row, column in zip(rows, values, strict=True)
        ],
        correlations=[pb.CorrelationRow(value=row) for row in correlations(compared)],
    )


def _figure(name: str, values: Sequence[float | None]) -> pb.ComparedFigure:
    known = [None if value is None or math.isnan(value) else value for value in values]
    first = known[0]
    found = [pb.FigureValue(value=known[0])]
    for value in known[1:]:
        apart = None if value is None or first is None else value - first
        found.append(pb.FigureValue(value=value, difference=apart))
    return pb.ComparedFigure(name=name, values=found)


def _value(value: Any) -> struct_pb2.Value:
    return struct({"value": value}).fields["value"]
