"""The lists of back-tests and of their records: what they may be filtered and ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quasar.filters import Field
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderType
from quasar.ordering import OrderField
from strategy_engine.backtests.figure_names import NUMBERS
from strategy_engine.backtests.records import BacktestState
from strategy_engine.store.field_words import LabelledFields, figure, numeric, ordered_number, truth, words
from strategy_engine.store.pages import Listing
from strategy_engine.store.statements import SQL

_SHORT: Final = ("sharpe", "total_return", "max_drawdown", "trades")
"""Figures that may be named without `statistics.`."""
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""Of lines that a strategy wrote, the least first."""

BACKTESTS: Final = Listing(
    name="ListBacktests",
    statement=SQL["backtests"],
    fields=LabelledFields(
        {
            "strategy": Field("strategy"),
            "code_version": Field("code_version", "integer"),
            "state": Field("state", "enum", tuple(each.name for each in BacktestState)),
            "display_name": Field("display_name"),
            "instance_id": Field("coalesce(instance_id, '')"),
            "sweep_id": Field("coalesce(sweep_id::text, '')"),
            "symbol": Field("array(select jsonb_array_elements(series) ->> 'symbol')", "list"),
            "create_time": Field("created_at", "time"),
            "end_time": Field("finished_at", "time", nullable=True),
            **words("", _SHORT),
            **words("statistics.", NUMBERS),
        }
    ),
    orders={
        "create_time": OrderField("created_at", "timestamptz"),
        "end_time": OrderField("coalesce(finished_at, 'infinity')", "timestamptz"),
        "strategy": OrderField("strategy"),
        "display_name": OrderField("display_name"),
        **{name: ordered_number(figure(name)) for name in _SHORT},
        **{f"statistics.{name}": ordered_number(figure(name)) for name in NUMBERS},
    },
    default="create_time desc",
    tie=(OrderField("backtest_id", "uuid"),),
)
_POSITION: Final = OrderField("position", "integer")


def _records(table: str, fields: Mapping[str, Field], orders: Mapping[str, OrderField], default: str) -> Listing:
    return Listing(
        name=table,
        statement=SQL["backtest_records"].replace("{table}", table),
        fields=fields,
        orders={default: _POSITION, **orders},
        default=default,
        tie=(_POSITION,),
    )


def _spec(name: str) -> str:
    return f"coalesce(data -> 'spec' ->> '{name}', '')"


RECORDS: Final[Mapping[str, Listing]] = {
    "backtest_trades": _records(
        "backtest_trades",
        {
            "symbol": Field("symbol"),
            "side": Field("side", "enum", ("LONG", "SHORT")),
            "net_profit": numeric("pnl"),
            "return_ratio": numeric("return_ratio"),
            "entry_time": Field("entry_time", "time"),
            "exit_time": Field("exit_time", "time", nullable=True),
            "bars_held": Field("bars", "integer"),
            "entry_tag": Field("coalesce(data ->> 'entry_tag', '')"),
            "exit_tag": Field("coalesce(data ->> 'exit_tag', '')"),
            "open": truth("exit_time is null"),
        },
        {
            "entry_time": OrderField("entry_time", "timestamptz"),
            "exit_time": OrderField("coalesce(exit_time, 'infinity')", "timestamptz"),
            "net_profit": ordered_number("pnl"),
            "return_ratio": ordered_number("return_ratio"),
            "bars_held": OrderField("coalesce(bars, 0)", "integer"),
        },
        "trade_number",
    ),
    "backtest_fills": _records(
        "backtest_fills",
        {
            "symbol": Field("symbol"),
            "side": Field("side", "enum", ("BUY", "SELL")),
            "client_order_id": Field("client_order_id"),
            "fill_time": Field("filled_at", "time"),
            "bar_index": Field("coalesce(data ->> 'bar_index', '0')::bigint", "integer"),
            "tag": Field("coalesce(data ->> 'tag', '')"),
        },
        {},
        "fill_id",
    ),
    "backtest_orders": _records(
        "backtest_orders",
        {
            "symbol": Field("symbol"),
            "side": Field(f"replace({_spec('side')}, 'ORDER_SIDE_', '')", "enum", ("BUY", "SELL")),
            "type": Field(
                f"replace({_spec('type')}, 'ORDER_TYPE_', '')", "enum", tuple(each.name for each in OrderType)
            ),
            "status": Field("status", "enum", tuple(each.name for each in OrderStatus)),
            "client_order_id": Field("client_order_id"),
            "create_time": Field("created_at", "time"),
            "tag": Field(_spec("tag")),
        },
        {},
        "intent_number",
    ),
}
LOGS: Final = Listing(
    name="backtest_logs",
    statement=SQL["backtest_logs"],
    fields={
        "level": Field("level", "enum", LEVELS),
        "message": Field("message"),
        "event_time": Field("event_time", "time", nullable=True),
    },
    orders={"sequence": OrderField("sequence", "bigint")},
    default="sequence",
    tie=(OrderField("sequence", "bigint"),),
)
