"""Latest prices and what they did since the session opened."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from datahub.live.movers import Move, ranked
from datahub.live.prices import PriceBoard, Quote
from quasar.calendars import calendar_for
from quasar.model.instants import to_ns
from quasar.model.ticks import Tick, TickColumns, TickKind
from quasar_proto.datahub.v1 import price_pb2

SHARE, COIN = 1, 2


def ns(text: str) -> int:
    return to_ns(dt.datetime.fromisoformat(text + "+00:00"))


def board() -> PriceBoard:
    made = PriceBoard()
    made.know(SHARE, calendar_for("XNYS"))
    return made


def trade(on: PriceBoard, series_id: int, text: str, price: float, size: float = 1.0, times: int = 1) -> Quote:
    columns = TickColumns(np.full(times, ns(text)), np.full(times, price), np.full(times, size))
    on.update(series_id, columns)
    return on.quotes[series_id]


def test_figures_of_a_share_are_those_of_its_session_and_the_last_price_is_that_of_any_trade() -> None:
    on = board()
    trade(on, SHARE, "2025-11-26T20:59:00", 90.0)
    quote = trade(on, SHARE, "2025-11-28T12:00:00", 95.0)  # before the open
    assert (quote.last, quote.session_open, quote.session_trades) == (95.0, 90.0, 1)
    trade(on, SHARE, "2025-11-28T14:30:00", 100.0, 2.0)
    trade(on, SHARE, "2025-11-28T15:00:00", 103.0, 1.0)
    quote = trade(on, SHARE, "2025-11-28T19:00:00", 50.0, 9.0)  # after the half day's close
    assert quote.last == 50.0
    assert (quote.session_open_ns, quote.session_open, quote.previous_close) == (ns("2025-11-28T14:30:00"), 100.0, 90.0)
    assert (quote.session_high, quote.session_low, quote.session_volume, quote.session_trades) == (103.0, 100.0, 3.0, 2)
    assert quote.session_vwap == pytest.approx((100.0 * 2 + 103.0) / 3)
    trade(on, SHARE, "2025-11-26T20:58:00", 70.0)  # late, of a session that is over
    assert (quote.session_open, quote.session_low) == (100.0, 100.0)


def test_a_market_is_open_by_its_calendar_and_one_that_nobody_knows_always() -> None:
    on = board()
    asked = ["2025-11-28T14:29", "2025-11-28T14:30", "2025-11-28T17:59", "2025-11-28T18:30", "2025-11-29T15:00"]
    assert [on.is_open(SHARE, ns(text)) for text in asked] == [False, True, True, False, False]
    assert all(on.is_open(COIN, ns(text)) for text in asked)


@pytest.mark.parametrize("times", [1, 40])
def test_sessions_of_a_coin_are_days_of_utc(times: int) -> None:
    on = board()
    trade(on, COIN, "2025-11-28T23:59:59", 10.0)
    quote = trade(on, COIN, "2025-11-29T00:00:01", 12.0, 0.5, times)
    assert (quote.session_open_ns, quote.session_open, quote.previous_close) == (ns("2025-11-29T00:00"), 12.0, 10.0)
    assert (quote.session_trades, quote.session_volume) == (times, 0.5 * times)
    assert quote.session_vwap == pytest.approx(12.0)
    quote = trade(on, COIN, "2025-11-29T10:00:00", 15.0)
    assert (quote.change, quote.change_ratio) == (3.0, 0.25)


def test_quotes_move_bid_and_ask_and_neither_the_last_price_nor_the_session() -> None:
    on = board()
    trade(on, COIN, "2025-11-29T00:00:01", 12.0)
    top = Tick(ns("2025-11-29T00:00:02"), TickKind.BOOK_TOP, bid_price=11.0, bid_size=2.0, ask_price=13.0)
    on.update(COIN, TickColumns.from_ticks([top]))
    quote = on.quotes[COIN]
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == (11.0, 2.0, 13.0, None)
    assert (quote.last, quote.session_trades, quote.session_high) == (12.0, 1, 12.0)


MOVES = [
    Move(open=100.0, high=111.0, low=99.0, last=110.0, quote_volume=500.0, trades=3),
    Move(open=100.0, high=101.0, low=70.0, last=80.0, quote_volume=900.0, trades=9),
    None,
    Move(open=100.0, high=102.0, low=100.0, last=101.0, quote_volume=9_000.0, trades=1),
    Move(open=0.0, high=1.0, low=0.0, last=1.0, quote_volume=1.0, trades=20),
]


@pytest.mark.parametrize(
    ("ranking", "places", "first"),
    [
        (price_pb2.MOVER_RANKING_CHANGE, [1, 0, 3], -0.2),
        (price_pb2.MOVER_RANKING_GAINERS, [0, 3, 1], 0.1),
        (price_pb2.MOVER_RANKING_LOSERS, [1, 3, 0], -0.2),
        (price_pb2.MOVER_RANKING_QUOTE_VOLUME, [3, 1, 0, 4], 9_000.0),
        (price_pb2.MOVER_RANKING_RANGE, [1, 0, 3], 0.31),
        (price_pb2.MOVER_RANKING_TRADES, [4, 1, 0, 3], 20.0),
    ],
)
def test_movers_are_ranked_by_what_was_asked_for(ranking: int, places: list[int], first: float) -> None:
    found = ranked(MOVES, ranking)
    assert [place for place, _ in found] == places
    assert found[0][1] == pytest.approx(first)


def test_who_traded_too_little_is_left_out() -> None:
    assert [place for place, _ in ranked(MOVES, price_pb2.MOVER_RANKING_CHANGE, 600.0)] == [1, 3]
