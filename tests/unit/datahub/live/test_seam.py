from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datahub.live.seam import RecentTrades, missed
from quasar.model.columns import MISSING
from quasar.model.ticks import TickColumns, TickFlag
from quasar.providers.market import MINUTE_NS, Market

START = 29_000_000 * MINUTE_NS
TRADES = Market().trades("BTC/USD", START, START + 5 * MINUTE_NS)


def ids(ticks: TickColumns) -> list[int]:
    assert ticks.trade_id is not None
    found: list[int] = ticks.trade_id.tolist()
    return found


@given(cut=st.integers(1, 100), hole=st.integers(0, 100), overlap=st.integers(0, 40))
def test_both_sides_of_a_hole_join_without_a_loss_or_a_repeat(cut: int, hole: int, overlap: int) -> None:
    before, after = TRADES[np.arange(cut)], TRADES[np.arange(cut + hole, len(TRADES))]
    fetched = TRADES[np.arange(max(0, cut - overlap), min(len(TRADES), cut + hole + overlap))]
    last = (int(before.event_time_ns[-1]), ids(before)[-1])
    between = missed(fetched, last, after)
    assert ids(before) + (ids(between) if len(between) else []) + ids(after) == ids(TRADES)


def test_times_decide_where_the_venue_has_no_ids_and_refilled_ticks_say_so() -> None:
    nameless = replace(TRADES, trade_id=None)
    last = int(nameless.event_time_ns[9])
    between = missed(nameless, (last, MISSING), nameless[np.arange(20, 30)])
    np.testing.assert_array_equal(between.event_time_ns, nameless.event_time_ns[10:20])
    assert between.flags is not None
    assert (between.flags == TickFlag.REFILLED).all()


@given(parts=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=12))
def test_each_trade_is_fresh_once(parts: list[tuple[int, int]]) -> None:
    recent = RecentTrades()
    got: list[int] = []
    for first, rows in parts:
        fresh = recent.fresh(TRADES[np.arange(first, first + rows)])
        got += ids(fresh) if len(fresh) else []
    wanted = {trade for first, rows in parts for trade in ids(TRADES[np.arange(first, first + rows)])}
    assert sorted(got) == sorted(wanted)


def test_repeats_within_one_message_and_ticks_without_an_id() -> None:
    twice = TickColumns.concatenate([TRADES[np.arange(3)], TRADES[np.arange(3)]])
    assert ids(RecentTrades().fresh(twice)) == ids(TRADES[np.arange(3)])
    nameless = replace(twice, trade_id=None)
    assert RecentTrades().fresh(nameless) is nameless


def test_it_is_known_how_far_back_every_trade_is_remembered() -> None:
    recent = RecentTrades(kept=4)
    for first in range(0, 12, 2):
        recent.fresh(TRADES[np.arange(first, first + 2)])
    assert recent.knows_since(ids(TRADES)[8])
    assert not recent.knows_since(ids(TRADES)[3])
    assert not recent.knows_since(MISSING)
