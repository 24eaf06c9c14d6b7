"""What waits for the bus, and what is said of that for which there is no room."""

from __future__ import annotations

import numpy as np

from datahub.bus.outbox import LARGEST_MESSAGE, Hole, Outbox
from datahub.live.bars import BuiltBar
from datahub.live.chunks import bar_field, tick_field
from datahub.stream.log import Entry
from datahub.stream.topic import Content, Topic
from quasar.model.bars import Bar
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.providers.market import MINUTE_NS

TICKS, BARS = 1, 2
MINUTE = Interval.parse("1min")


def ticks(first: int, last: int) -> Entry:
    """Trades at the nanoseconds `first` to `last`."""
    times = np.arange(first, last + 1)
    columns = TickColumns(times, np.ones(len(times)), np.ones(len(times)))
    return Entry(0, Topic(TICKS, Content.TRADES), tick_field(TICKS, columns, first, 0, None), len(times), 0)


def bar(minute: int) -> Entry:
    field = bar_field(BuiltBar(BARS, MINUTE, Bar(minute * MINUTE_NS, 1.0, 1.0, 1.0, 1.0, 1.0)))
    return Entry(0, Topic(BARS, Content.CLOSED_BARS), field, 1, 0)


def gap() -> Entry:
    return Entry(0, Topic(TICKS, Content.GAPS), b"a gap", 1, 0)


def test_one_outage_is_one_hole_of_each_series_and_gaps_pass() -> None:
    room: list[int] = []
    outbox = Outbox(2 * len(ticks(1, 10).field), lambda: room.append(outbox.waiting_bytes))
    outbox.put(ticks(1, 10))
    outbox.put(ticks(11, 20))
    outbox.put(ticks(21, 30))
    outbox.put(bar(7))
    outbox.put(gap())
    outbox.put(ticks(31, 31))
    assert outbox.refused_rows == 12
    assert outbox.take_holes() == {}, "it still grows"
    first = outbox.take(1)
    outbox.done(first)
    outbox.put(ticks(32, 32))
    assert outbox.refused_rows == 13, "not before half of the room is free"
    outbox.done(outbox.take(2))
    assert room == [0]
    outbox.put(ticks(33, 40))
    assert outbox.take_holes() == {TICKS: Hole(21, 33, 12), BARS: Hole(7 * MINUTE_NS, 7 * MINUTE_NS + 1, 1)}
    assert outbox.take_holes() == {}
    (kept,) = outbox.take(5)
    assert kept.rows == 8


def test_a_message_is_as_large_as_a_server_takes_and_a_chunk_that_is_larger_goes_alone() -> None:
    outbox = Outbox(1 << 30)
    for size in (LARGEST_MESSAGE // 2, LARGEST_MESSAGE // 3, LARGEST_MESSAGE // 3, 2 * LARGEST_MESSAGE, 10):
        outbox.put(Entry(0, Topic(TICKS, Content.GAPS), bytes(size), 1, 0))
    taken = []
    while outbox:
        taken.append([len(one.field) for one in outbox.take(100)])
    assert taken == [
        [LARGEST_MESSAGE // 2, LARGEST_MESSAGE // 3],
        [LARGEST_MESSAGE // 3],
        [2 * LARGEST_MESSAGE],
        [10],
    ]
