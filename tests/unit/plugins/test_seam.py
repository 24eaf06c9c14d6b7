"""At the seam between two processes of a feed nothing comes twice and nothing is lost."""

from __future__ import annotations

import numpy as np

from quasar.model.ticks import Tick, TickColumns
from quasar.plugins.batches import LiveBatch, LiveTicks
from quasar.plugins.seam import Seam


def batch(*ticks: Tick) -> LiveBatch:
    return LiveBatch([LiveTicks("A", 1, TickColumns.from_ticks(ticks), b"")])


def prices(found: LiveBatch) -> list[float]:
    return [value for chunk in found.tick_chunks for value in np.asarray(chunk.columns.price).tolist()]


def test_what_the_former_process_brought_is_taken_out_of_what_the_next_brings() -> None:
    seam = Seam()
    seam.remember(batch(Tick(1, price=1.0, trade_id=1), Tick(2, price=2.0, trade_id=2)))
    found = seam.without_repeats(batch(Tick(2, price=2.0, trade_id=2), Tick(3, price=3.0, trade_id=3)))
    assert prices(found) == [3.0]


def test_two_equal_trades_stay_two() -> None:
    seam = Seam()
    seam.remember(batch(Tick(1, price=1.0, size=5.0)))
    found = seam.without_repeats(batch(Tick(1, price=1.0, size=5.0), Tick(1, price=1.0, size=5.0)))
    assert prices(found) == [1.0]


def test_the_time_of_arrival_does_not_make_a_difference() -> None:
    seam = Seam()
    seam.remember(batch(Tick(1, price=1.0, receive_time_ns=10)))
    assert seam.without_repeats(batch(Tick(1, price=1.0, receive_time_ns=11))).tick_chunks == []
