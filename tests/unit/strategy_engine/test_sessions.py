"""When orders may be placed: windows of local time, also around changes of clocks, and sessions of calendars."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from quasar.model.orders import OrderSide, OrderSpec, OrderType
from strategy_engine.backtests.records import SeriesFacts
from strategy_engine.policy.judgement import judge
from strategy_engine.policy.limits import PLATFORM, InstrumentMatch, Policy, limits_of
from strategy_engine.policy.sessions import Hours, session_of
from strategy_engine.policy.standing import Proposal, Standing
from strategy_engine.trading.hours import hours_of
from strategy_engine.trading.survey import midnight

NEW_YORK = {"start": "09:30", "end": "16:00", "time_zone": "America/New_York", "weekdays": [1, 2, 3, 4, 5]}
NIGHT = {"start": "22:00", "end": "06:00", "weekdays": [5]}
SKIPPED = {"start": "02:30", "end": "03:10", "time_zone": "America/New_York"}
REPEATED = {"start": "01:30", "end": "01:45", "time_zone": "America/New_York"}


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("window", "time", "inside"),
    [
        (NEW_YORK, "2026-01-05T14:29:59", False),
        (NEW_YORK, "2026-01-05T14:30:00", True),
        (NEW_YORK, "2026-01-05T20:59:59", True),
        (NEW_YORK, "2026-01-05T21:00:00", False),
        (NEW_YORK, "2026-07-06T13:30:00", True),  # in summer an hour earlier
        (NEW_YORK, "2026-01-04T15:00:00", False),  # a Sunday
        (NIGHT, "2026-01-09T22:00:00", True),  # a Friday, and the night after it
        (NIGHT, "2026-01-10T05:59:59", True),
        (NIGHT, "2026-01-10T06:00:00", False),
        (NIGHT, "2026-01-10T22:00:00", False),
        (SKIPPED, "2026-03-08T06:59:59", False),  # clocks go from 02:00 to 03:00 at 07:00 UTC
        (SKIPPED, "2026-03-08T07:00:00", True),
        (SKIPPED, "2026-03-08T07:10:00", False),
        (REPEATED, "2026-11-01T05:30:00", True),  # the first of two
        (REPEATED, "2026-11-01T06:30:00", False),
    ],
)
def test_a_window_holds_by_local_time(window: dict[str, Any], time: str, inside: bool) -> None:
    assert session_of({"window": window}).holds(Hours(at(time))) is inside


def asked(**more: Any) -> Proposal:
    spec = OrderSpec(symbol="AAPL", side=OrderSide.BUY, type=OrderType.MARKET, quantity=Decimal(1))
    known: dict[str, Any] = {"known": True, "currency": "USD", "price": Decimal(1), **more}
    return Proposal(account_id="main", instance_id="", spec=spec, **known)


def denied(proposal: Proposal, document: dict[str, Any]) -> list[str]:
    policy = Policy(policy_id="p", scope=PLATFORM, limits=limits_of(document))
    return [check.reason for check in judge(proposal, Standing(), [policy]).denials]


def test_orders_pass_within_any_of_the_sessions_and_the_engine_closes_at_any_time() -> None:
    sessions = {"allowed_sessions": [{"window": NEW_YORK}, {"calendar": "XNYS"}]}
    night = at("2026-01-05T03:00:00")
    assert denied(asked(hours=Hours(night, {"XNYS": False})), sessions) == ["OUTSIDE_SESSION"]
    assert denied(asked(hours=Hours(night, {"XNYS": True})), sessions) == []
    assert denied(asked(hours=Hours(at("2026-01-05T15:00:00"))), sessions) == []
    assert denied(asked(), sessions) == ["OUTSIDE_SESSION"]
    assert denied(asked(closing=True), sessions) == []


async def test_the_hours_of_an_instrument_are_those_of_its_exchange_and_unknown_ones_are_closed() -> None:
    limits = limits_of({"allowed_sessions": [{"calendar": "instrument"}, {"calendar": "XNYS"}]})
    policies = [Policy(policy_id="p", scope=PLATFORM, limits=limits)]
    monday, sunday = at("2026-01-05T15:00:00"), at("2026-01-04T15:00:00")
    coin = SeriesFacts(provider="p", symbol="BTC/USD", interval="1d", asset_class="crypto")
    share = SeriesFacts(provider="p", symbol="AAPL", interval="1d", asset_class="equity", exchange="XNAS")
    strange = SeriesFacts(provider="p", symbol="X", interval="1d", calendar="24/7")
    assert (await hours_of(policies, share, monday)).open == {"instrument": True, "XNYS": True}
    assert (await hours_of(policies, share, sunday)).open == {"instrument": False, "XNYS": False}
    assert (await hours_of(policies, coin, sunday)).open["instrument"]
    assert not (await hours_of(policies, strange, monday)).open["instrument"]
    assert not (await hours_of(policies, None, monday)).open["instrument"]


def test_instruments_are_meant_by_class_and_exchange_and_what_is_not_known_is_forbidden() -> None:
    crypto = {"forbidden_instruments": [{"asset_class": "ASSET_CLASS_CRYPTO"}]}
    assert denied(asked(asset_class="crypto"), crypto) == ["INSTRUMENT_FORBIDDEN"]
    assert denied(asked(asset_class="equity"), crypto) == []
    assert denied(asked(), crypto) == ["INSTRUMENT_FORBIDDEN"]
    nasdaq = {"allowed_instruments": [{"exchange": "XNAS"}]}
    assert denied(asked(exchange="xnas"), nasdaq) == []
    assert denied(asked(exchange="XNYS"), nasdaq) == ["INSTRUMENT_NOT_ALLOWED"]
    assert denied(asked(), nasdaq) == ["INSTRUMENT_NOT_ALLOWED"]
    assert InstrumentMatch("*/USDT", exchange="KRAKEN").fits("BTC/USDT", "USDT", exchange="Kraken")


@pytest.mark.parametrize(
    ("zone", "now", "begun"),
    [
        ("UTC", "2026-01-05T03:00:00", "2026-01-05T00:00:00"),
        ("America/New_York", "2026-01-05T03:00:00", "2026-01-04T05:00:00"),
        ("Asia/Tokyo", "2026-01-05T15:00:00", "2026-01-05T15:00:00"),
        ("America/Santiago", "2026-09-06T12:00:00", "2026-09-06T04:00:00"),  # clocks skip midnight there
    ],
)
def test_a_trading_day_begins_at_local_midnight(zone: str, now: str, begun: str) -> None:
    assert midnight(at(now), zone) == at(begun)
