from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quasar.model.ticks import Side, Tick, TickColumns, TickFlag, TickKind

_NUMBER = st.none() | st.floats(-1e9, 1e9)
_WHOLE = st.none() | st.integers(0, 2**60)
_TICKS = st.lists(
    st.builds(
        Tick,
        event_time_ns=st.integers(0, 2**60),
        kind=st.sampled_from(TickKind),
        price=_NUMBER,
        size=_NUMBER,
        side=st.sampled_from(Side),
        bid_price=_NUMBER,
        bid_size=_NUMBER,
        ask_price=_NUMBER,
        ask_size=_NUMBER,
        receive_time_ns=_WHOLE,
        publish_time_ns=_WHOLE,
        venue_sequence=_WHOLE,
        trade_id=_WHOLE,
        trade_id_text=st.text(max_size=5),
        flags=st.integers(0, 15).map(TickFlag),
    ),
    max_size=8,
)


@given(_TICKS)
def test_single_ticks_survive_columns_with_every_missing_value(ticks: list[Tick]) -> None:
    assert list(TickColumns.from_ticks(ticks).ticks()) == ticks


@given(_TICKS, _TICKS)
def test_joining_chunks_keeps_every_row_also_when_only_one_chunk_has_a_column(
    first: list[Tick], last: list[Tick]
) -> None:
    joined = TickColumns.concatenate([TickColumns.from_ticks(first), TickColumns.from_ticks(last)])
    assert list(joined.ticks()) == first + last


def test_trades_are_told_from_quotes() -> None:
    ticks = TickColumns.from_ticks([Tick(1, price=10.0), Tick(2, TickKind.QUOTE, bid_price=9.0), Tick(3, price=11.0)])
    assert ticks.trades().price.tolist() == [10.0, 11.0]  # type: ignore[union-attr]
    assert ticks[1:2].tick(0) == Tick(2, TickKind.QUOTE, bid_price=9.0)


def test_equality_treats_missing_values_as_equal() -> None:
    some = TickColumns(np.array([1, 2]), price=np.array([1.0, np.nan]))
    assert some.equals(TickColumns(np.array([1, 2]), price=np.array([1.0, np.nan])))
    assert not some.equals(TickColumns(np.array([1, 2])))


def test_words_of_kinds_are_told_once_and_in_the_order_of_the_contract() -> None:
    assert TickKind.in_order(["BOOK_TOP", "", "TRADE", "BOOK_TOP", "CANDLE"]) == ("TRADE", "BOOK_TOP")
    assert TickKind.in_order([]) == ()
