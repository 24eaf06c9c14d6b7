"""What orders of an instrument must keep to at its broker: steps, ticks and smallest sizes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from quasar.model.orders import OrderSpec
from strategy_engine.policy.decision import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentRules:
    """The rules of one instrument; None: not known, so that nothing is held to it."""

    price_tick: Decimal | None = None
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    """In the currency of its prices."""

    def floor(self, quantity: Decimal) -> Decimal:
        """Return the greatest quantity on the step that is not above one."""
        step = self.quantity_step
        return quantity if step is None else int(Fraction(quantity) // Fraction(step)) * step


def instrument_checks(
    rules: InstrumentRules, spec: OrderSpec, quantity: Decimal | None, notional: Decimal | None
) -> Iterator[Check]:
    """Hold an order to the rules of its instrument.

    Args:
        rules: The rules.
        spec: The terms.
        quantity: All of it, what is filled included; None: not known.
        notional: What that is worth; None: not known.
    """
    if quantity is not None:
        yield from _sizes(rules, quantity)
    if rules.price_tick is not None:
        yield from _ticks(rules.price_tick, spec)
    if rules.min_notional is not None and notional is not None:
        passed = abs(notional) >= rules.min_notional
        detail = "" if passed else f"notional must be at least {rules.min_notional}, was {notional}"
        yield Check(reason="MIN_NOTIONAL", passed=passed, limit=rules.min_notional, value=notional, detail=detail)


def _sizes(rules: InstrumentRules, quantity: Decimal) -> Iterator[Check]:
    step = rules.quantity_step
    smallest = max((each for each in (rules.min_quantity, step) if each is not None), default=None)
    if step is not None:
        passed = _lies_on(quantity, step)
        near = f"{rules.floor(quantity):f} and {rules.floor(quantity) + step:f}"
        detail = "" if passed else f"quantity must be a multiple of {step:f}, was {quantity:f}; {near} are"
        yield Check(reason="QUANTITY_STEP", passed=passed, limit=step, value=quantity, unit="units", detail=detail)
    if smallest is not None:
        passed = quantity >= smallest
        detail = "" if passed else f"quantity must be at least {smallest:f}, was {quantity:f}"
        yield Check(reason="MIN_QUANTITY", passed=passed, limit=smallest, value=quantity, unit="units", detail=detail)


def _ticks(tick: Decimal, spec: OrderSpec) -> Iterator[Check]:
    """One check for each price that is off the tick; one that passes where none is."""
    off = [(name, price) for name, price in _prices(spec) if not _lies_on(price, tick)]
    for name, price in off:
        below = int(Fraction(price) // Fraction(tick)) * tick
        detail = f"{name} must be a multiple of {tick:f}, was {price:f}; {below:f} and {below + tick:f} are"
        yield Check(reason="PRICE_TICK", passed=False, limit=tick, value=price, detail=detail)
    if not off:
        yield Check(reason="PRICE_TICK", passed=True, limit=tick)


def _prices(spec: OrderSpec) -> Iterator[tuple[str, Decimal]]:
    """Yield the prices that an order names; distances are put on the grid where they become prices."""
    named = [("limit_price", spec.limit_price), ("trigger_price", spec.trigger_price)]
    if spec.bracket is not None:
        for name, leg in (("stop_loss", spec.bracket.stop_loss), ("take_profit", spec.bracket.take_profit)):
            if leg is not None:
                named += [(f"bracket.{name}.price", leg.price), (f"bracket.{name}.limit_price", leg.limit_price)]
    yield from ((name, price) for name, price in named if price is not None)


def _lies_on(value: Decimal, step: Decimal) -> bool:
    # As fractions: the remainder of decimals fails where the quotient has more digits than the context.
    return (Fraction(value) / Fraction(step)).denominator == 1
