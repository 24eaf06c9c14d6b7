"""What the process of a back-test tells, as values; and stored records as messages."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quasar.model.columns import FloatArray
from quasar.model.money import format_decimal
from quasar.rpc.wellknown import instant, seconds, timestamp
from quasar_proto.plugin.v1 import strategy_pb2 as plugin
from quasar_proto.strategy.v1 import backtest_pb2, order_pb2, statistics_pb2
from strategy_engine.backtests.records import (
    CURVES,
    EquityColumns,
    FillRecord,
    LogRecord,
    OrderRecord,
    Outcome,
    Records,
    TradeRecord,
)
from strategy_engine.rpc.values import decimal_message, decimal_of, document, instant_of, word_of
from strategy_engine.trading.round_trips import RoundTrip

_ZERO: Final = Decimal(0)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def records_of(message: plugin.RunBacktestResponse) -> Records:
    """Return one message of a running back-test as values."""
    told = message.HasField("progress")
    return Records(
        bars_done=message.progress.bars_done if told else None,
        bars_total=message.progress.bars_total if told else None,
        equity=[_equity(chunk) for chunk in message.equity],
        orders=[_order(order) for order in message.orders],
        fills=[_fill(fill) for fill in message.fills],
        trades=[_trade(trade) for trade in message.trades],
        logs=[_log(line) for line in message.logs],
        outcome=_outcome(message.outcome) if message.HasField("outcome") else None,
    )


def _equity(chunk: statistics_pb2.EquityChunk) -> EquityColumns:
    times = np.fromiter(chunk.time_ns, dtype=np.int64, count=len(chunk.time_ns))
    columns = {name: _column(getattr(chunk, name)) for name in CURVES if len(getattr(chunk, name))}
    return EquityColumns(times, columns)


def _column(values: Any) -> FloatArray:
    return np.fromiter(values, dtype=np.float64, count=len(values))


def _order(order: order_pb2.Order) -> OrderRecord:
    time = instant_of(order, "create_time") or instant_of(order, "decide_time") or _EPOCH
    return OrderRecord(
        client_order_id=order.client_order_id,
        symbol=order.spec.symbol,
        status=word_of(order_pb2.OrderStatus, order.status, "ORDER_STATUS_"),
        time=time,
        document=document(order),
    )


def _fill(fill: order_pb2.Fill) -> FillRecord:
    commission = decimal_of(fill.commission, "amount") if fill.HasField("commission") else None
    return FillRecord(
        client_order_id=fill.client_order_id,
        symbol=fill.symbol,
        side=word_of(order_pb2.OrderSide, fill.side, "ORDER_SIDE_"),
        quantity=decimal_of(fill, "quantity") or _ZERO,
        price=decimal_of(fill, "price") or _ZERO,
        commission=commission or _ZERO,
        time=instant(fill.fill_time),
        document=document(fill),
    )


def _trade(trade: statistics_pb2.Trade) -> TradeRecord:
    return TradeRecord(
        symbol=trade.symbol,
        side=word_of(statistics_pb2.PositionSide, trade.side, "POSITION_SIDE_"),
        quantity=decimal_of(trade, "quantity") or _ZERO,
        entry_time=instant(trade.entry_time),
        entry_price=decimal_of(trade, "entry_price") or _ZERO,
        commission=decimal_of(trade, "commission") or _ZERO,
        exit_time=instant_of(trade, "exit_time"),
        exit_price=decimal_of(trade, "exit_price"),
        profit=decimal_of(trade, "net_profit"),
        return_ratio=trade.return_ratio,
        bars_held=trade.bars_held,
        tag=trade.entry_tag,
        document=document(trade),
    )


def _log(line: backtest_pb2.LogLine) -> LogRecord:
    return LogRecord(
        event_time=instant_of(line, "event_time"), level=line.level or "info", message=line.message, place=line.place
    )


def _outcome(outcome: plugin.BacktestOutcome) -> Outcome:
    counts = outcome.counts
    return Outcome(
        error="" if outcome.succeeded else error_text(outcome.error),
        findings=[document(finding) for finding in outcome.findings],
        final_equity=decimal_of(outcome.equity, "amount") if outcome.HasField("equity") else None,
        final_cash=decimal_of(outcome.cash[0], "amount") if outcome.cash else None,
        counts={
            "bars": counts.bars,
            "orders": counts.orders,
            "denied_orders": counts.denied_orders,
            "fills": counts.fills,
            "trades": counts.trades,
        },
        run_s=seconds(outcome.timing.run_time),
        bars_per_second=outcome.timing.bars_per_second,
        peak_memory_bytes=outcome.timing.peak_memory_bytes,
        engine_version=outcome.engine_version,
    )


def error_text(error: plugin.StrategyError) -> str:
    """Return an error of the author's code as one sentence with file and line."""
    where = f" at {error.file}:{error.line}" if error.file else ""
    hook = f" in {error.callback}" if error.callback else ""
    return f"{error.type or 'Error'}: {error.message}{where}{hook}"


def trade_message(trip: RoundTrip) -> statistics_pb2.Trade:
    """Return a round trip of a run as a message; of an open one without a mark the profit is left out."""
    side = statistics_pb2.POSITION_SIDE_LONG if trip.long else statistics_pb2.POSITION_SIDE_SHORT
    trade = statistics_pb2.Trade(
        trade_number=trip.number,
        symbol=trip.entry.symbol,
        side=side,
        quantity=decimal_message(trip.quantity),
        entry_time=timestamp(trip.entry_time),
        entry_price=decimal_message(trip.entry.price),
        currency=trip.entry.currency,
        commission=decimal_message(trip.commission),
        entry_tag=trip.entry.tag,
        entry_client_order_id=trip.entry.client_order_id,
    )
    if trip.exit is not None or trip.mark is not None:
        trade.gross_profit.value = format_decimal(trip.gross_profit)
        trade.net_profit.value = format_decimal(trip.net_profit)
        trade.return_ratio = trip.return_ratio
    if trip.exit is not None:
        trade.exit_time.FromNanoseconds(trip.exit.fill_time_ns)
        trade.exit_price.value = format_decimal(trip.exit.price)
        trade.exit_tag, trade.exit_client_order_id = trip.exit.tag, trip.exit.client_order_id
    return trade
