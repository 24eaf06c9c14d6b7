"""The figures of a portfolio, from its positions, its cash and its equity curve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from strategy_engine.trading.orders import ZERO, Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a portfolio is worth; amounts in one currency."""

    equity: Decimal
    cash: Decimal
    long_exposure: Decimal
    short_exposure: Decimal
    """At least 0."""
    realised_pnl: Decimal
    """Commission not deducted."""
    unrealised_pnl: Decimal
    commission: Decimal
    day_pnl: Decimal
    peak_equity: Decimal
    positions: int

    @property
    def gross_exposure(self) -> Decimal:
        """Long and short together."""
        return self.long_exposure + self.short_exposure

    @property
    def net_exposure(self) -> Decimal:
        """Long without short."""
        return self.long_exposure - self.short_exposure

    @property
    def total_pnl(self) -> Decimal:
        """What was earned, commission deducted."""
        return self.realised_pnl + self.unrealised_pnl - self.commission

    @property
    def drawdown(self) -> float | None:
        """Fall from the highest equity as a ratio of it; 0 or negative."""
        return float(self.equity / self.peak_equity - 1) if self.peak_equity > 0 else None


def worth(cash: Decimal, held: Sequence[Held], day_start: Decimal | None, peak: Decimal | None) -> Worth:
    """Return what a portfolio is worth.

    Args:
        cash: What it has of the currency.
        held: Its positions, flat ones included.
        day_start: Equity before the day began; None: it has none.
        peak: Highest equity so far.
    """
    values = [each.market_value for each in held]
    equity = cash + sum(values, ZERO)
    return Worth(
        equity=equity,
        cash=cash,
        long_exposure=sum((value for value in values if value > 0), ZERO),
        short_exposure=-sum((value for value in values if value < 0), ZERO),
        realised_pnl=sum((each.realised_pnl for each in held), ZERO),
        unrealised_pnl=sum((each.unrealised_pnl for each in held), ZERO),
        commission=sum((each.commission for each in held), ZERO),
        day_pnl=ZERO if day_start is None else equity - day_start,
        peak_equity=max(equity, peak) if peak is not None else equity,
        positions=sum(bool(each.quantity) for each in held),
    )
