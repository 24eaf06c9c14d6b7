"""What a back-test leaves, as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import numpy as np

from quasar.convert.plugin_orders import decimal_to_proto, fill_to_proto, order_to_proto, time_to_proto
from quasar.engine.desk import Note
from quasar.engine.result import BacktestResult
from quasar.engine.trades import Trades
from quasar.model.signals import Signal
from quasar_proto.common.v1 import values_pb2
from quasar_proto.plugin.v1 import strategy_pb2
from quasar_proto.strategy.v1 import backtest_pb2, order_pb2, statistics_pb2
from quasar_proto.strategy.v1 import strategy_pb2 as run_pb2

EQUITY_ROWS: Final = 50_000
RECORDS: Final = 2_000


def equity_chunks(result: BacktestResult) -> Iterator[statistics_pb2.EquityChunk]:
    """Yield the equity curve in pieces."""
    equity, cash, times = result.equity, result.cash, result.time_ns
    peak = np.maximum.accumulate(equity) if len(equity) else equity
    drawdown = np.divide(equity, peak, out=np.ones(len(equity)), where=peak != 0) - 1.0
    for start in range(0, len(times), EQUITY_ROWS):
        part = slice(start, start + EQUITY_ROWS)
        yield statistics_pb2.EquityChunk(
            first_row=start,
            time_ns=times[part].tolist(),
            equity=equity[part].tolist(),
            cash=cash[part].tolist(),
            net_exposure=(equity[part] - cash[part]).tolist(),
            drawdown=drawdown[part].tolist(),
        )


def orders(result: BacktestResult) -> Iterator[order_pb2.Order]:
    """Yield the orders that acted or still work."""
    return (order_to_proto(order) for order in result.orders())


def fills(result: BacktestResult) -> Iterator[order_pb2.Fill]:
    """Yield the fills."""
    return (fill_to_proto(fill) for fill in result.exact_fills())


def trades(result: BacktestResult) -> Iterator[statistics_pb2.Trade]:
    """Yield the closed round trips."""
    found = result.trades
    return (_trade(result, found, row) for row in range(len(found)))


def _trade(result: BacktestResult, found: Trades, row: int) -> statistics_pb2.Trade:
    lane = result.lanes[int(found.symbol[row])]
    entry_bar, exit_bar = int(found.entry_bar[row]), int(found.exit_bar[row])
    long = found.direction[row] > 0
    entry = float(found.entry_price[row])
    net = _exact(float(found.profit[row]))
    paid = _exact(float(found.commission[row]))
    trade = statistics_pb2.Trade(
        trade_number=row + 1,
        symbol=lane.symbol,
        side=statistics_pb2.POSITION_SIDE_LONG if long else statistics_pb2.POSITION_SIDE_SHORT,
        quantity=decimal_to_proto(_exact(float(found.quantity[row]))),
        entry_time=time_to_proto(int(lane.bars.open_time_ns[entry_bar])),
        entry_price=decimal_to_proto(_exact(entry)),
        exit_time=time_to_proto(int(lane.bars.open_time_ns[exit_bar])),
        exit_price=decimal_to_proto(_exact(float(found.exit_price[row]))),
        currency=result.rules.currency,
        gross_profit=decimal_to_proto(net + paid),
        commission=decimal_to_proto(paid),
        net_profit=decimal_to_proto(net),
        return_ratio=float(found.ratio[row]),
        adverse_excursion=-float(found.mae[row]) / entry if entry else 0.0,
        favourable_excursion=float(found.mfe[row]) / entry if entry else 0.0,
        bars_held=exit_bar - entry_bar,
        entry_bar_index=entry_bar,
        exit_bar_index=exit_bar,
    )
    return trade


def _exact(value: float) -> Decimal:
    """Return the shortest decimal of a double; ten digits are beyond what sums of doubles are right to."""
    return Decimal(repr(round(value, 10)))


def log_line(note: Note, sequence: int) -> backtest_pb2.LogLine:
    """Return a line that the strategy wrote."""
    return backtest_pb2.LogLine(
        sequence=sequence,
        event_time=time_to_proto(note.time_ns),
        level=note.level,
        message=note.message[:8192],
    )


def timed_signal(signal: Signal) -> strategy_pb2.TimedSignal:
    """Return what the strategy saw, with its time."""
    word = f"SIGNAL_DIRECTION_{signal.direction.value if signal.direction else 'UNSPECIFIED'}"
    message = run_pb2.Signal(
        symbol=signal.symbol,
        direction=run_pb2.SignalDirection.Value(word),
        strength=signal.strength,
        price=signal.price,
        label=signal.label,
        reason=signal.reason[:8192],
        values=signal.values,
    )
    return strategy_pb2.TimedSignal(event_time=time_to_proto(signal.time_ns), signal=message)


def outcome(result: BacktestResult) -> strategy_pb2.BacktestOutcome:
    """Return the outcome of a back-test that ran to its end; without timing."""
    currency = result.rules.currency
    found = strategy_pb2.BacktestOutcome(
        succeeded=True,
        equity=values_pb2.Money(amount=decimal_to_proto(result.final_equity), currency=currency),
        cash=[values_pb2.Money(amount=decimal_to_proto(result.final_cash), currency=currency)],
        counts=strategy_pb2.BacktestCounts(
            bars=result.bars,
            intents=result.intents_given,
            orders=sum(1 for _ in result.orders()) + result.orders_cancelled,
            fills=len(result.rows),
            trades=len(result.trades),
        ),
    )
    for symbol, quantity in result.final_positions.items():
        found.positions.add(symbol=symbol, currency=currency, quantity=decimal_to_proto(quantity))
    if result.working:
        found.findings.add(
            rule="orders-left-open",
            message=f"{len(result.working)} orders were still open at the end",
            count=len(result.working),
        )
    return found
