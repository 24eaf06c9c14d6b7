"""What the engine keeps for one symbol: its working orders, its position and the integers of its grid."""

from __future__ import annotations

from quasar.engine.commission import Charge
from quasar.engine.grid import Grid
from quasar.engine.series import BarView
from quasar.engine.slippage import Slip
from quasar.engine.working import WorkingOrder


class Holding:
    """The position in one symbol, as strategies see it; one object per symbol, kept up to date.

    Quantities and prices are doubles here, for reckoning; the exact ones are in fills and results.
    """

    __slots__ = ("average_price", "is_flat", "is_long", "is_short", "lots", "quantity")

    def __init__(self) -> None:
        """Begin flat."""
        self.lots = 0
        self.quantity = 0.0
        """Signed units: above 0 long, below 0 short."""
        self.average_price = 0.0
        """Average entry price of what is held, 0 when flat; a reversal starts anew, a reduction leaves it."""
        self.is_flat = True
        self.is_long = False
        self.is_short = False

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return self.lots != 0

    def unrealised(self, price: float) -> float:
        """Return the profit of what is held at `price`, commission not deducted."""
        return self.quantity * (price - self.average_price)

    def add(self, signed_lots: int, price: float, size_scale: int) -> None:
        """Take one fill in."""
        before = self.lots
        after = before + signed_lots
        if before == 0 or (before > 0) != (after > 0):
            self.average_price = price if after else 0.0
        elif (before > 0) == (signed_lots > 0):
            self.average_price = (self.average_price * before + price * signed_lots) / after
        elif after == 0:
            self.average_price = 0.0
        self.lots = after
        self.quantity = after / size_scale
        self.is_flat, self.is_long, self.is_short = after == 0, after > 0, after < 0


class Book:
    """Orders, position and scales of one symbol."""

    __slots__ = (
        "bar",
        "charge",
        "fine",
        "fine_decimals",
        "fine_scale",
        "grid",
        "holding",
        "index",
        "mark",
        "money",
        "orders",
        "price_scale",
        "size_scale",
        "slip",
        "symbol",
        "traded_bar",
        "traded_lots",
    )

    def __init__(self, index: int, symbol: str, grid: Grid) -> None:
        """Make an empty book; the ledger sets its scales of money."""
        self.index = index
        self.symbol = symbol
        self.grid = grid
        self.bar = BarView(symbol)
        """The bar that trades: the finest series of the symbol."""
        self.mark = float("nan")
        """The price at which the position is valued between bars (live ticks); NaN: the bar's close."""
        self.orders: list[WorkingOrder] = []
        self.holding = Holding()
        self.price_scale = grid.price_scale
        self.size_scale = grid.size_scale
        self.fine = 1
        """Fine units in a price unit."""
        self.fine_decimals = grid.price_decimals
        self.fine_scale = grid.price_scale
        self.money = 1
        """Money units of one lot at one fine unit of price."""
        self.charge: Charge = _free
        self.slip: Slip | None = None
        self.traded_bar = -1
        self.traded_lots = 0

    @property
    def last(self) -> float:
        """The price at which the position is valued; NaN before the first."""
        return self.mark if self.mark == self.mark else self.bar.close

    def last_units(self) -> int:
        """Return that price in fine units; 0 before the first."""
        last = self.last
        return round(last * self.price_scale) * self.fine if last == last else 0

    def room(self, share: float) -> int:
        """Return how many lots may still trade in the present bar when only a share of its volume may."""
        volume = self.bar.volume
        if self.traded_bar != self.bar.index:
            self.traded_bar = self.bar.index
            self.traded_lots = 0
        if volume != volume:
            return 0
        return max(0, int(volume * self.size_scale * share + 1e-9) - self.traded_lots)


def _free(_lots: int, _notional: int, _maker: bool) -> int:
    return 0
