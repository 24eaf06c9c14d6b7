from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datahub.stream.batch import PORTION_BYTES, Portion
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor, LiveLog
from datahub.stream.reader import Bounds, Policy
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.testing.clock import FakeClock

BTC = Topic(1, Content.TRADES)
ETH = Topic(2, Content.TRADES)
BTC_BARS = Topic(3, Content.CLOSED_BARS)
FORMING = Topic(3, Content.FORMING_BARS)


def hub(**limits: int) -> Hub:
    return Hub(LiveLog(7, **limits), FakeClock())


def numbers(payload: bytes) -> list[int]:
    """Entries in these tests are four bytes each: their number."""
    return [int.from_bytes(payload[i : i + 4], "big") for i in range(0, len(payload), 4)]


def joined(portions: Iterable[Portion]) -> bytes:
    return b"".join(portion.payload for portion in portions)


def put(target: Hub, topic: Topic, number: int, rows: int = 1) -> None:
    target.publish(topic, number.to_bytes(4, "big"), rows)


def test_a_reader_gets_what_it_selected_in_order_and_nothing_else() -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS)
    for number in range(10):
        put(target, BTC if number % 2 else ETH, number)
    target.flush()
    portion = reader.take()
    assert portion is not None
    assert numbers(portion.payload) == [1, 3, 5, 7, 9]
    assert reader.take() is None


def test_what_was_published_before_a_reader_joined_does_not_reach_it() -> None:
    target = hub()
    put(target, BTC, 1)
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS)
    put(target, BTC, 2)
    target.flush()
    portion = reader.take()
    assert portion is not None
    assert numbers(portion.payload) == [2]


@given(breaks=st.lists(st.integers(1, 199), max_size=12), seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_a_reader_that_resumes_at_its_cursor_loses_nothing_and_gets_nothing_twice(breaks: list[int], seed: int) -> None:
    target, source = hub(), random.Random(seed)
    topics = frozenset({BTC, BTC_BARS})
    got: list[int] = []
    reader = target.join(topics, Policy.LOSSLESS)
    for number in range(200):
        put(target, source.choice([BTC, ETH, BTC_BARS]), number)
        if source.random() < 0.3:
            target.flush()
        if source.random() < 0.2 and (portion := reader.take()):
            got += numbers(portion.payload)
        if number in breaks:
            # The connection breaks here: whatever waits is lost with it, and the client comes back with its cursor.
            target.leave(reader)
            cursor = Cursor(7, reader.position)
            reader = target.join(topics, Policy.LOSSLESS)
            got += numbers(joined(target.replay(topics, cursor)))
    target.flush()
    if portion := reader.take():
        got += numbers(portion.payload)
    wanted = [int.from_bytes(e.field, "big") for e in target.log.after(Cursor(7, 0)) if e.topic in topics]
    assert got == wanted


def test_a_slow_lossless_reader_ends_and_the_others_go_on() -> None:
    target = hub()
    slow = target.join(frozenset({BTC}), Policy.LOSSLESS, Bounds(max_bytes=40))
    healthy = target.join(frozenset({BTC}), Policy.LOSSLESS, Bounds(max_bytes=40))
    got = []
    for number in range(30):
        put(target, BTC, number)
        target.flush()
        portion = healthy.take()
        assert portion is not None
        got += numbers(portion.payload)
    assert got == list(range(30))
    with pytest.raises(errors.SlowReader) as told:
        slow.take()
    assert slow.queued_bytes == 0
    cursor = Cursor.parse(told.value.metadata["cursor"])
    assert numbers(joined(target.replay(frozenset({BTC}), cursor))) == list(range(30))


async def test_a_lossless_reader_that_waits_too_long_ends_even_when_little_waits() -> None:
    clock = FakeClock()
    target = Hub(LiveLog(7), clock)
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS, Bounds(max_age_ns=1_000_000_000))
    for number in range(3):
        put(target, BTC, number)
        target.flush()
        await clock.advance(0.9)
    with pytest.raises(errors.SlowReader):
        reader.take()


def test_a_conflating_reader_gets_the_latest_and_the_count_of_what_it_missed_is_exact() -> None:
    target = hub()
    reader = target.join(frozenset({BTC, ETH, BTC_BARS}), Policy.CONFLATE)
    for number in range(100):
        put(target, BTC, number, rows=3)
        if number % 10 == 0:
            put(target, BTC_BARS, 1000 + number)
        target.flush()
    put(target, ETH, 500)
    target.flush()
    portion = reader.take()
    assert portion is not None
    got = numbers(portion.payload)
    assert [n for n in got if n < 500] == [99]
    assert 500 in got
    assert [n for n in got if n >= 1000] == [1000 + n for n in range(0, 100, 10)]
    assert reader.reported() == {BTC: (99 * 3, 99 * 3)}
    assert reader.reported() == {}


def test_a_cursor_that_is_too_old_names_the_earliest_one() -> None:
    target = hub(max_bytes=40)
    for number in range(20):
        put(target, BTC, number)
    with pytest.raises(errors.CursorExpired) as told:
        target.replay(frozenset({BTC}), Cursor(7, 3))
    earliest = Cursor.parse(told.value.metadata["earliest_cursor"])
    assert numbers(joined(target.replay(frozenset({BTC}), earliest))) == list(range(10, 20))


@pytest.mark.parametrize("text", ["", "x", "7", "7.zz", "seven.1"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidCursor):
        Cursor.parse(text)


def test_a_cursor_ahead_of_the_log_is_refused_and_one_of_a_former_life_has_expired() -> None:
    target = hub()
    put(target, BTC, 1)
    with pytest.raises(errors.InvalidCursor):
        target.replay(frozenset({BTC}), Cursor(7, 99))
    with pytest.raises(errors.CursorExpired):
        target.replay(frozenset({BTC}), Cursor(6, 1))


def test_forming_bars_are_in_a_snapshot_and_not_in_a_replay() -> None:
    target = hub()
    for number in range(5):
        put(target, FORMING, number)
    put(target, BTC_BARS, 9)
    topics = frozenset({FORMING, BTC_BARS})
    assert numbers(joined(target.snapshot(topics))) == [4, 9]
    assert numbers(joined(target.replay(topics, Cursor(7, 0)))) == [9]


def test_the_last_rows_are_those_of_each_topic() -> None:
    target = hub()
    put(target, ETH, 7)
    for number in range(10):
        put(target, BTC, 100 + number, rows=2)
    assert numbers(joined(target.replay_last(frozenset({BTC, ETH}), 5))) == [7, 107, 108, 109]


def test_the_cursor_of_a_quiet_selection_moves_on_with_the_log() -> None:
    target = hub(max_bytes=40)
    reader = target.join(frozenset({ETH}), Policy.LOSSLESS)
    for number in range(30):
        put(target, BTC, number)
        target.flush()
    cursor = target.cursor_of(reader)
    put(target, ETH, 500)
    target.flush()
    assert target.cursor_of(reader) == cursor, "what waits was not given so far"
    assert numbers(joined(target.replay(frozenset({ETH}), cursor))) == [500]


def test_what_a_reader_is_behind_comes_in_messages_that_a_client_takes_each_with_its_own_cursor() -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS)
    size = PORTION_BYTES // 4
    for number in range(10):
        target.publish(BTC, bytes([number]) * size, 1)
        target.flush()
    taken = []
    while portion := reader.take():
        taken.append(portion)
    assert [len(portion.payload) // size for portion in taken] == [4, 4, 2]
    whole = joined(taken)
    assert joined(target.replay(frozenset({BTC}), Cursor(7, 0))) == whole
    rest = joined(target.replay(frozenset({BTC}), Cursor(7, taken[0].last_position)))
    assert taken[0].payload + rest == whole


def test_a_series_that_is_given_up_is_in_no_later_snapshot() -> None:
    target = hub()
    put(target, BTC, 1)
    put(target, ETH, 2)
    target.forget([BTC.series_id])
    assert numbers(joined(target.snapshot(frozenset({BTC, ETH})))) == [2]
