"""The terms of a back-test as the engine takes them; what the engine cannot do is refused, never silently left out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from quasar import errors
from quasar.convert.plugin_orders import decimal_of
from quasar.engine.commission import (
    BoundedCommission,
    Commission,
    FixedCommission,
    MakerTakerCommission,
    NoCommission,
    PercentCommission,
    PerShareCommission,
)
from quasar.engine.grid import Grid, decimals_of
from quasar.engine.rules import ExitsFrom, FillAt, MarketRules
from quasar.engine.slippage import NoSlippage, ProportionalSlippage, Slippage, VolumeShareSlippage
from quasar_proto.common.v1 import values_pb2
from quasar_proto.plugin.v1 import strategy_pb2
from quasar_proto.strategy.v1 import backtest_pb2, execution_model_pb2

_CRYPTO_DECIMALS: Final = 8
_ZERO: Final = Decimal(0)


def rules_of(terms: backtest_pb2.BacktestTerms) -> MarketRules:
    """Return the rules of the simulated market.

    Raises:
        InvalidArgument: The engine has no such model; the message names it.
    """
    execution = terms.execution
    fill = execution.fill
    if fill.path not in (execution_model_pb2.INTRABAR_PATH_UNSPECIFIED, execution_model_pb2.INTRABAR_PATH_STOP_FIRST):
        raise _refused("fill.path", "STOP_FIRST", execution_model_pb2.IntrabarPath.Name(fill.path))
    if fill.limit_rule not in (
        execution_model_pb2.LIMIT_FILL_RULE_UNSPECIFIED,
        execution_model_pb2.LIMIT_FILL_RULE_TOUCH,
    ):
        raise _refused("fill.limit_rule", "TOUCH", execution_model_pb2.LimitFillRule.Name(fill.limit_rule))
    _require_known(execution)
    leverage = decimal_of(execution.margin, "max_leverage") or Decimal(1)
    return MarketRules(
        cash=decimal_of(terms.cash, "amount") or _ZERO,
        currency=terms.cash.currency or "USD",
        fill_at=_fill_at(fill.timing),
        exits_from=ExitsFrom.ENTRY_BAR if fill.exits_in_entry_bar else ExitsFrom.NEXT_BAR,
        commission=_commission(execution.commission),
        slippage=_slippage(execution.slippage),
        volume_share=decimal_of(fill, "volume_share"),
        allow_short=execution.margin.allow_short if execution.margin.HasField("allow_short") else True,
        margin=Decimal(1) / leverage,
    )


def _require_known(execution: execution_model_pb2.ExecutionModel) -> None:
    """Refuse what the engine would leave out without a word."""
    fill, margin = execution.fill, execution.margin
    touches = fill.touch_fill_probability if fill.HasField("touch_fill_probability") else 1.0
    for field, asked in (
        ("fill.latency", fill.latency.ToNanoseconds() != 0),
        ("fill.touch_fill_probability", touches != 1.0),
        ("slippage.clamp_to_bar", execution.slippage.clamp_to_bar),
        ("margin.maintenance_ratio", bool(decimal_of(margin, "maintenance_ratio"))),
        ("margin.borrow_rate", bool(decimal_of(margin, "borrow_rate"))),
        ("margin.cash_rate", bool(decimal_of(margin, "cash_rate"))),
        ("margin.short_fee_rate", bool(decimal_of(margin, "short_fee_rate"))),
    ):
        if asked:
            raise _refused(field, "left out", "set")
    if not (decimal_of(margin, "max_leverage") or Decimal(1)) > 0:
        raise _refused("margin.max_leverage", "above 0", str(margin.max_leverage.value))


def grid_of(series: strategy_pb2.StrategySeries, terms: backtest_pb2.BacktestTerms | None = None) -> Grid | None:
    """Return where the prices and sizes of a series lie; None: no tick is told, it is found from the prices.

    What its instrument says comes first, then the default steps of the terms.
    """
    default = terms.execution.market_rules if terms is not None else execution_model_pb2.MarketRules()
    tick = decimal_of(series.rules, "price_tick") or decimal_of(default, "default_price_tick")
    if tick is None:
        return None
    decimals = decimals_of(tick)
    return sized_grid(series, decimals, terms, price_tick=max(1, int(tick.scaleb(decimals))))


def sized_grid(
    series: strategy_pb2.StrategySeries,
    price_decimals: int,
    terms: backtest_pb2.BacktestTerms | None = None,
    *,
    price_tick: int = 1,
) -> Grid:
    """Return the grid of a series whose prices have so many decimals; sizes lie on its step, else where usual."""
    default = terms.execution.market_rules if terms is not None else execution_model_pb2.MarketRules()
    step = decimal_of(series.rules, "quantity_step") or decimal_of(default, "default_quantity_step")
    sizes = decimals_of(step) if step is not None else size_decimals_of(series)
    return Grid(
        price_decimals=price_decimals,
        size_decimals=sizes,
        price_tick=price_tick,
        size_step=1 if step is None else max(1, int(step.scaleb(sizes))),
        multiplier=multiplier_of(series),
    )


def multiplier_of(series: strategy_pb2.StrategySeries) -> Decimal:
    """Return the value of one unit per point of price, as its instrument says; 1 where it says nothing."""
    return decimal_of(series.rules, "multiplier") or Decimal(1)


def size_decimals_of(series: strategy_pb2.StrategySeries) -> int:
    """Return the usual digits of sizes: eight for crypto assets and currencies, none for the rest."""
    fine = (values_pb2.ASSET_CLASS_CRYPTO, values_pb2.ASSET_CLASS_CURRENCY)
    return _CRYPTO_DECIMALS if series.series.asset_class in fine else 0


def _fill_at(timing: int) -> FillAt:
    if timing in (execution_model_pb2.FILL_TIMING_UNSPECIFIED, execution_model_pb2.FILL_TIMING_NEXT_OPEN):
        return FillAt.NEXT_OPEN
    if timing == execution_model_pb2.FILL_TIMING_SAME_CLOSE:
        return FillAt.SAME_CLOSE
    raise _refused("fill.timing", "NEXT_OPEN or SAME_CLOSE", str(timing))


def _commission(model: execution_model_pb2.CommissionModel) -> Commission:
    if model.overrides or model.HasField("decimals"):
        raise _refused("commission", "one model for all symbols, unrounded", "with overrides or decimals")
    name = model.WhichOneof("model") or "zero"
    make = _COMMISSIONS.get(name)
    if make is None:
        raise _refused("commission", ", ".join(_COMMISSIONS), name)
    return make(getattr(model, name)) if model.WhichOneof("model") else NoCommission()


def _bounded(inner: Commission, minimum: Decimal | None, maximum: Decimal | None) -> Commission:
    if minimum is None and maximum is None:
        return inner
    return BoundedCommission(inner, minimum or _ZERO, maximum)


def _need(message: Any, field: str) -> Decimal:
    return decimal_of(message, field) or _ZERO


_COMMISSIONS: Final[dict[str, Callable[[Any], Commission]]] = {
    "zero": lambda _: NoCommission(),
    "rate": lambda one: _bounded(PercentCommission(_need(one, "rate")), decimal_of(one, "minimum"), None),
    "unit": lambda one: _bounded(
        PerShareCommission(_need(one, "amount")), decimal_of(one, "minimum"), decimal_of(one, "maximum_rate")
    ),
    "order": lambda one: FixedCommission(_need(one, "amount")),
    "maker_taker": lambda one: MakerTakerCommission(_need(one, "maker_rate"), _need(one, "taker_rate")),
}
_SLIPPAGES: Final[dict[str, Callable[[Any], Slippage]]] = {
    "zero": lambda _: NoSlippage(),
    "ratio": lambda one: ProportionalSlippage(_need(one, "ratio")),
    "volume_share": lambda one: VolumeShareSlippage(_need(one, "impact")),
}


def _slippage(model: execution_model_pb2.SlippageModel) -> Slippage:
    name = model.WhichOneof("model") or "zero"
    make = _SLIPPAGES.get(name)
    if make is None:
        raise _refused("slippage", ", ".join(_SLIPPAGES), name)
    return make(getattr(model, name))


def _refused(field: str, must_be: str, was: str) -> errors.InvalidArgument:
    text = f"execution.{field} must be {must_be} in this version, was {was}"
    return errors.InvalidArgument(text, violations=[errors.FieldViolation(f"terms.execution.{field}", text)])
