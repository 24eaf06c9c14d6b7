from __future__ import annotations

import importlib.util
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from quasar import errors
from quasar.engine.backtest import run_backtest
from quasar.engine.grid import Grid
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.strategy import SMA, Bar, Contingency, Parameter, Strategy, TimeInForce
from tests.unit.engine.markets import flat, random_bars, series

EXAMPLES = Path(__file__).parents[2] / "examples" / "strategies"


class Declared(Strategy):
    """Shows every kind of parameter."""

    name = "declared"
    warm_up = 3
    fast = Parameter(10, minimum=2, maximum=50, description="bars")
    ratio = Parameter(0.5, minimum=0.0)
    size = Parameter(Decimal("1.5"), minimum=Decimal("0.1"))
    mode = Parameter("calm", choices=("calm", "wild"))
    short = Parameter(False)

    def on_bar(self, bar: Bar) -> None: ...


def test_parameters_have_their_defaults_and_take_values() -> None:
    strategy = Declared({"fast": 20, "size": "2.25", "ratio": 1})
    assert (strategy.fast, strategy.ratio, strategy.size, strategy.mode, strategy.short) == (
        20,
        1.0,
        Decimal("2.25"),
        "calm",
        False,
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fast": 1}, "fast must be at least 2, was 1"),
        ({"fast": 51}, "fast must be at most 50, was 51"),
        ({"fast": "ten"}, "fast must be of type int, was 'ten'"),
        ({"fast": True}, "fast must be of type int, was True"),
        ({"ratio": float("nan")}, "ratio must be finite"),
        ({"size": "much"}, "size must be a number, was 'much'"),
        ({"mode": "loud"}, "mode must be one of calm, wild, was 'loud'"),
        ({"slow": 1}, "parameters must be among fast, ratio, size, mode, short, was slow"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_rule(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        Declared(parameters)


def test_a_strategy_describes_itself() -> None:
    described = Declared.describe()
    assert (described["name"], described["description"]) == ("declared", "Shows every kind of parameter.")
    assert (described["hooks"], described["warm_up"]) == (["on_bar"], 3)
    assert described["parameters"]["properties"] == {
        "fast": {"type": "integer", "default": 10, "minimum": 2, "maximum": 50, "description": "bars"},
        "ratio": {"type": "number", "default": 0.5, "minimum": 0.0},
        "size": {"type": "string", "default": "1.5", "format": "decimal", "minimum": "0.1"},
        "mode": {"type": "string", "default": "calm", "enum": ["calm", "wild"]},
        "short": {"type": "boolean", "default": False},
    }


def test_the_name_follows_from_the_class_where_none_is_given() -> None:
    class SmaCrossFast(Strategy): ...

    assert SmaCrossFast.registered_name() == "sma_cross_fast"


def test_acting_before_the_run_is_refused_with_advice() -> None:
    with pytest.raises(errors.FailedPrecondition, match="must act in on_start or later"):
        Declared().buy(1)


def test_an_instance_runs_once() -> None:
    strategy = Declared()
    run_backtest(strategy, [series(*flat(1.0, 3))])
    with pytest.raises(errors.FailedPrecondition, match="must run once"):
        run_backtest(strategy, [series(*flat(1.0, 3))])


def test_a_late_indicator_is_refused() -> None:
    class Late(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.indicator(SMA(3))

    with pytest.raises(errors.FailedPrecondition, match="indicators must be made in on_start"):
        run_backtest(Late(), [series(*flat(1.0, 3))])


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"quantity": 0}, "quantity must be above 0"),
        ({"quantity": -5}, "quantity must be above 0"),
        ({"quantity": "0.001"}, "at least the smallest size"),
        ({}, "quantity must be above 0"),
        ({"quantity": 1, "fraction": 1}, "one of quantity, fraction and notional, was given 2"),
        ({"fraction": 2}, "fraction must be above 0 and at most 1, was 2"),
        ({"quantity": 1, "symbol": "Y"}, "symbol must be one of X, was Y"),
        ({"quantity": 1, "limit": float("nan")}, "limit must be finite"),
        ({"quantity": 1, "stop": 2, "touch": 3}, "either stop or touch"),
        ({"quantity": 1, "trail": 1, "limit": 2}, "one distance and no limit"),
        ({"quantity": 1, "trail": 0}, "trail must be above 0"),
        ({"quantity": 1, "trail_ratio": 1}, "trail_ratio must be above 0 and below 1"),
        ({"quantity": 1, "tif": TimeInForce.GTD}, "expires must be set for GTD"),
        ({"quantity": 1, "post_only": True}, "post_only must go with a limit order"),
        ({"notional": 0}, "notional must be above 0"),
        ({"notional": "0.5"}, "at least the smallest size"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_where_it_is_written(order: dict[str, Any], message: str) -> None:
    class Wrong(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.buy(**order)

    with pytest.raises(errors.InvalidArgument, match=message):
        run_backtest(Wrong(), [series(*flat(1.0, 2), grid=Grid(2))])


def test_cash_positions_and_equity_are_at_hand() -> None:
    class Looking(Strategy):
        def on_start(self) -> None:
            self.rows: list[tuple[float, float, float, float, list[str]]] = []

        def on_bar(self, bar: Bar) -> None:
            held = self.position
            self.rows.append((self.cash, self.equity, held.quantity, held.average_price, list(self.positions)))
            if bar.index == 0:
                self.buy(10)

    strategy = Looking()
    lane = series((10, 10, 10, 10), (11, 12, 11, 12), grid=Grid(2))
    run_backtest(strategy, [lane], MarketRules(cash=Decimal(1000)))
    assert strategy.rows == [(1000.0, 1000.0, 0.0, 0.0, []), (890.0, 1010.0, 10.0, 11.0, ["X"])]


def test_the_repr_of_an_order_says_what_a_person_wants_to_know() -> None:
    class Placing(Strategy):
        def on_bar(self, bar: Bar) -> None:
            order = self.sell(3, limit=2, group="g", contingency=Contingency.OCO, tag="t")
            assert repr(order) == "<order 1 SELL 3 X LIMIT limit 2.0 ACCEPTED filled 0>"
            assert "X 1min bar 0 of 2024-01-01" in repr(bar)

    run_backtest(Placing(), [series((1, 1, 1, 1), grid=Grid(2))])


def load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_runs_and_trades(path: Path) -> None:
    module = load(path)
    (example,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    ]
    result = run_backtest(example(), [Series("X", random_bars(3000, 7), "1min", Grid(2))])
    assert len(result.rows) > 10
    for line in ("What:", "Needs:", "Command:"):
        assert line in (module.__doc__ or "")


def test_the_cross_over_is_short_to_write() -> None:
    source = (EXAMPLES / "sma_cross.py").read_text().split('"""', 2)[2]
    assert len([line for line in source.splitlines() if line.strip()]) <= 25
