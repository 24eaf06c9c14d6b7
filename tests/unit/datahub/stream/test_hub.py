from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datahub.stream.batch import PORTION_BYTES, Past, Portion
from datahub.stream.envelope import envelope, numbered, sealed
from datahub.stream.hub import FLUSH_S, WRITES_PER_S, Hub
from datahub.stream.log import Cursor, LiveLog
from datahub.stream.reader import Bounds, Policy, Reader
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.testing.clock import FakeClock
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BTC = Topic(1, Content.TRADES)
ETH = Topic(2, Content.TRADES)
BTC_BARS = Topic(3, Content.CLOSED_BARS)
FORMING = Topic(3, Content.FORMING_BARS)


def hub(**limits: Any) -> Hub:
    return Hub(LiveLog(7, **limits), FakeClock())


def numbers(payload: bytes) -> list[int]:
    """Entries in these tests are four bytes each: their number."""
    return [int.from_bytes(payload[i : i + 4], "big") for i in range(0, len(payload), 4)]


def joined(portions: Iterable[Past | Portion]) -> bytes:
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


@pytest.mark.parametrize(
    "text",
    ["", "x", "7", "7.zz", "seven.1", "-7.1", "7.-1", "7.+1", "7. 1", "7.1_0", "0x7.1", f"7.{'f' * 17}", "7.1.1"],
)
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


def offered(reader: Reader) -> Portion:
    portion = reader.take()
    assert portion is not None
    return portion


def test_readers_of_one_selection_share_one_envelope_and_others_do_not() -> None:
    target = hub()
    first, second = (target.join(frozenset({BTC}), Policy.LOSSLESS) for _ in range(2))
    conflating = target.join(frozenset({BTC}), Policy.CONFLATE)
    other = target.join(frozenset({BTC, ETH}), Policy.LOSSLESS)
    put(target, BTC, 1)
    target.flush()
    one, two, three, another = (offered(reader).batch for reader in (first, second, conflating, other))
    assert one is not None
    assert another is not None
    assert one is two is three, "nothing was left out for the conflating one"
    assert one.sealed is one.sealed
    assert another is not one


def test_conflating_readers_that_keep_up_share_what_was_thinned_once_and_count_it_each() -> None:
    target = hub()
    readers = [target.join(frozenset({BTC}), Policy.CONFLATE) for _ in range(2)]
    for number in range(5):
        put(target, BTC, number, rows=2)
    target.flush()
    portions = [offered(reader) for reader in readers]
    assert portions[0].batch is portions[1].batch is not None
    assert numbers(portions[0].payload) == [4]
    assert [reader.reported() for reader in readers] == [{BTC: (8, 8)}] * 2


def test_a_sealed_envelope_reads_like_one_that_was_made_for_the_reader() -> None:
    cursor = Cursor(7, 300)
    payload = pb.StreamMarketDataResponse(ticks=[market_data_pb2.TickChunk(series_id=3)]).SerializeToString()
    shared = pb.StreamMarketDataResponse.FromString(numbered(200, sealed(cursor, 5, payload)))
    own = pb.StreamMarketDataResponse.FromString(envelope(200, cursor, 5, payload))
    assert shared == own
    assert (own.epoch, own.sequence, own.cursor, own.publish_time_ns) == (7, 200, str(cursor), 5)
    assert own.ticks[0].series_id == 3


def test_a_reader_that_has_left_does_not_come_back_by_a_change_of_its_selection() -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS)
    target.leave(reader)
    target.change(reader, frozenset({BTC, ETH}))
    assert target.readers == 0
    put(target, ETH, 1)
    target.flush()
    assert reader.queued_bytes == 0


@pytest.mark.parametrize("policy", list(Policy))
def test_a_log_that_breaks_off_ends_its_readers_and_names_where_it_goes_on(policy: Policy) -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), policy)
    put(target, BTC, 1)
    target.flush()
    assert reader.take() is not None
    before = target.cursor_of(reader)
    put(target, BTC, 2)
    target.break_off(100)
    put(target, BTC, 3)
    target.flush()
    with pytest.raises(errors.CursorExpired) as told:
        reader.take()
    assert told.value.metadata["earliest_cursor"] == str(Cursor(7, 100))
    with pytest.raises(errors.CursorExpired):
        target.replay(frozenset({BTC}), before)
    assert numbers(joined(target.replay(frozenset({BTC}), Cursor(7, 100)))) == [3]


def test_a_past_shares_the_entries_of_the_log_until_it_is_taken() -> None:
    target = hub()
    size = PORTION_BYTES // 2
    for number in range(6):
        target.publish(BTC, bytes([number]) * size, 1)
    portions = target.replay(frozenset({BTC}), Cursor(7, 0))
    kept = {id(entry.field) for entry in target.log.after(Cursor(7, 0))}
    assert {id(entry.field) for portion in portions for entry in portion.entries} == kept
    assert [len(portion.payload) for portion in portions] == [PORTION_BYTES] * 3
    assert [portion.last_position for portion in portions] == [2, 4, 6]


async def test_data_is_gathered_for_as_long_as_the_reader_wishes() -> None:
    clock = FakeClock()
    target = Hub(LiveLog(7), clock)
    slow = target.join(frozenset({BTC}), Policy.LOSSLESS, flush_s=0.1)
    quick = target.join(frozenset({BTC}), Policy.LOSSLESS, flush_s=FLUSH_S)
    got: dict[Reader, list[list[int]]] = {slow: [], quick: []}
    await clock.advance(1.0)
    for number in range(40):
        put(target, BTC, number)
        await clock.advance(FLUSH_S)
        target.flush_due()
        for reader, taken in got.items():
            if portion := reader.take():
                taken.append(numbers(portion.payload))
    assert got[quick] == [[number] for number in range(40)]
    assert got[slow] == [[0], list(range(1, 21))], "after a silence at once, then what 100 ms brought"


async def test_more_busy_readers_than_one_core_can_write_to_are_written_to_less_often() -> None:
    clock = FakeClock()
    target = Hub(LiveLog(7), clock)
    readers = [target.join(frozenset({BTC}), Policy.LOSSLESS) for _ in range(WRITES_PER_S // 10)]
    writes = 0
    for number in range(200):
        put(target, BTC, number)
        await clock.advance(FLUSH_S)
        target.flush_due()
        writes += sum(reader.take() is not None for reader in readers)
    assert writes == pytest.approx(WRITES_PER_S, rel=0.15)  # in one second


def test_what_is_gathered_is_handed_over_early_when_it_fills_a_message() -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS, flush_s=60.0)
    for number in range(3):
        target.publish(BTC, bytes([number]) * (PORTION_BYTES // 2), 1)
    assert len(offered(reader).payload) == PORTION_BYTES


def test_what_a_stalled_conflating_reader_has_waiting_comes_in_messages_that_a_client_takes() -> None:
    target = hub()
    reader = target.join(frozenset({BTC, BTC_BARS}), Policy.CONFLATE)
    size = PORTION_BYTES // 4
    for number in range(10):
        target.publish(BTC_BARS, bytes([number]) * size, 1)
        target.publish(BTC, bytes([100 + number]) * size, 1)
        target.flush()
    taken = []
    while portion := reader.take():
        taken.append(portion)
        assert len(portion.payload) <= PORTION_BYTES
    assert [payload[0] for p in taken for payload in in_pieces(p.payload, size)] == [*range(10), 109]
    assert reader.reported() == {BTC: (9, 9)}
    rest = joined(target.replay(frozenset({BTC_BARS}), Cursor(7, taken[0].last_position)))
    assert rest[0] == taken[1].payload[0], "its cursor is that of what it has"


def in_pieces(payload: bytes, size: int) -> list[bytes]:
    return [payload[at : at + size] for at in range(0, len(payload), size)]


async def test_a_wait_ends_when_something_comes_or_its_time_is_over_however_often_it_was_waited_for() -> None:
    target = hub()
    reader = target.join(frozenset({BTC}), Policy.LOSSLESS)
    for number in range(50):
        put(target, BTC, number)
        asyncio.get_running_loop().call_soon(target.flush)
        assert await reader.wait(0.05)
        assert reader.take() is not None
    begun = time.monotonic()
    assert not await reader.wait(0.05)
    assert 0.04 < time.monotonic() - begun < 5.0
    reader.wake()
    assert await reader.wait(60.0)
    target.leave(reader)


@pytest.mark.parametrize("policy", list(Policy))
def test_what_waits_and_is_not_selected_any_more_does_not_come_after_the_change(policy: Policy) -> None:
    target = hub()
    reader = target.join(frozenset({BTC, BTC_BARS}), policy)
    for number in range(1, 7):
        put(target, BTC if number % 2 else BTC_BARS, number)
        target.flush()
    target.change(reader, frozenset({BTC_BARS, ETH}))
    put(target, ETH, 7)
    put(target, BTC, 8)
    target.flush()
    assert numbers(offered(reader).payload) == [2, 4, 6, 7]
    assert reader.take() is None
    put(target, BTC_BARS, 9)
    target.flush()
    target.change(reader, frozenset({ETH}))
    assert reader.take() is None
    assert target.cursor_of(reader) == target.log.head


async def test_a_time_of_which_something_is_not_kept_any_more_is_out_of_range_and_a_later_one_is_not() -> None:
    clock = FakeClock()
    target = Hub(LiveLog(7, max_bytes=12), clock)
    times = []
    for number in range(4):
        await clock.advance(1.0)
        times.append(clock.time_ns())
        put(target, BTC, number)
        if number == 2:  # nothing is gone so far: everything that was ever published is there
            assert target.log.cursor_at(times[0] - 10**9).position == 0
    with pytest.raises(errors.CursorExpired) as told:
        target.log.cursor_at(times[0])
    assert told.value.metadata["earliest_cursor"] == str(target.log.earliest)
    assert target.log.cursor_at(times[0] + 1) == target.log.earliest
    assert target.log.cursor_at(times[2]).position == 2
    restored = LiveLog(7, position=5)  # of what came before nobody knows when it was
    restored.append(BTC, b"x", 1, 10**9)
    assert restored.cursor_at(10**9).position == 5
    with pytest.raises(errors.CursorExpired):
        restored.cursor_at(10**9 - 1)
