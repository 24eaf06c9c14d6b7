"""What subscriptions select."""

from __future__ import annotations

from typing import Any

import pytest

from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of, list_assets, make_index, map_symbol, provide

New = subscription_pb2.NewSubscription
Selector = subscription_pb2.Selector


def request(provider: str = "alpha", interval: str = "1d", **selector: Any) -> pb.CreateSubscriptionRequest:
    """Return a request for a selection."""
    return pb.CreateSubscriptionRequest(
        subscription=New(provider=provider, interval=interval, selector=Selector(**selector))
    )


async def series(stage: Stage, **asked: Any) -> list[tuple[str, str]]:
    """Return the series that are selected: symbol, and what cannot be resolved with its cause."""
    answer = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest(page_size=1000, **asked))
    cause = subscription_pb2.UnresolvedCause.Name
    return [
        (one.key.symbol or one.unresolved_name, cause(one.unresolved).removeprefix("UNRESOLVED_CAUSE_"))
        for one in answer.series
    ]


async def test_a_symbol_is_subscribed_and_its_series_listed(stage: Stage) -> None:
    await provide(stage, symbols=("BTC/USD", "ETH/USD"))

    made = (await stage.subscriptions.CreateSubscription(request(symbol="BTC/USD", interval="60min"))).subscription

    assert (made.interval, made.historical, made.live) == ("1h", True, False)
    assert made.state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
    assert made.created_by.principal == "operator"
    assert await series(stage) == [("BTC/USD", "UNSPECIFIED")]


async def test_a_symbol_that_the_provider_does_not_list_is_not_found(stage: Stage) -> None:
    await provide(stage, symbols=("BTC/USD",))

    failure = await failure_of(stage.subscriptions.CreateSubscription(request(symbol="BTC/USDD")))

    assert failure.reason == "NOT_FOUND"
    assert failure.violations == {
        "subscription.selector.symbol": "must be a symbol that alpha lists, was 'BTC/USDD'",
    }


async def test_a_symbol_of_a_provider_that_cannot_list_its_symbols_is_taken_as_it_is(stage: Stage) -> None:
    await provide(stage)

    await stage.subscriptions.CreateSubscription(request(symbol="ünïcode / with spaces" + "x" * 170))

    assert [cause for _, cause in await series(stage)] == ["UNSPECIFIED"]


async def test_a_list_reports_what_is_unknown_and_what_vanished(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    await stage.database.execute("update registry.assets set state = 'VANISHED' where symbol = 'B'")

    names = subscription_pb2.SymbolList(symbols=["B", "A", "C"])
    made = (await stage.subscriptions.CreateSubscription(request(symbols=names))).subscription

    assert list(made.selector.symbols.symbols) == ["B", "A", "C"]
    assert await series(stage) == [("C", "UNKNOWN_SYMBOL"), ("A", "UNSPECIFIED"), ("B", "VANISHED")]


async def test_common_symbols_stand_for_the_mapped_assets_and_follow_the_mappings(stage: Stage) -> None:
    await provide(stage, symbols=("XBT/USD", "XETH"))
    await map_symbol(stage, "alpha", "XBT/USD", "BTC")
    names = subscription_pb2.CommonSymbolList(common_symbols=["btc", "ETH"])
    await stage.subscriptions.CreateSubscription(request(common_symbols=names))
    assert await series(stage) == [("ETH", "UNKNOWN_COMMON_SYMBOL"), ("XBT/USD", "UNSPECIFIED")]
    before = (await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest())).revision

    await map_symbol(stage, "alpha", "XETH", "ETH")
    await stage.upkeep.refresh()

    assert await series(stage) == [("XBT/USD", "UNSPECIFIED"), ("XETH", "UNSPECIFIED")]
    after = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest())
    assert after.revision > before
    assert [one.common_symbol for one in after.series] == ["BTC", "ETH"]


async def test_an_index_stands_for_its_present_members(stage: Stage) -> None:
    await provide(stage, symbols=("XBT/USD", "XETH"))
    await map_symbol(stage, "alpha", "XBT/USD", "BTC")
    await map_symbol(stage, "alpha", "XETH", "ETH")
    await stage.database.execute("insert into registry.common_symbols (symbol) values ('DOGE')")
    await make_index(stage, "majors", ["BTC", "DOGE"])

    await stage.subscriptions.CreateSubscription(request(index="majors"))
    assert await series(stage) == [("DOGE", "UNMAPPED"), ("XBT/USD", "UNSPECIFIED")]

    await stage.database.execute("update registry.index_memberships set valid_to = now()")
    await stage.database.execute(
        "insert into registry.index_memberships (index_id, common_symbol_id, valid_from) "
        "select i.index_id, s.common_symbol_id, now() from registry.indices i, registry.common_symbols s "
        "where s.symbol = 'ETH'"
    )
    await stage.upkeep.refresh()
    assert await series(stage) == [("XETH", "UNSPECIFIED")]


@pytest.mark.parametrize(
    ("selector", "field"),
    [({"common_symbol": "NOPE"}, "common_symbol"), ({"index": "NOPE"}, "index")],
)
async def test_a_common_symbol_or_index_named_on_its_own_must_exist(
    stage: Stage, selector: dict[str, str], field: str
) -> None:
    await provide(stage)

    failure = await failure_of(stage.subscriptions.CreateSubscription(request(**selector)))

    assert failure.reason == "NOT_FOUND"
    assert list(failure.violations) == [f"subscription.selector.{field}"]


async def test_a_condition_selects_the_listed_assets_that_pass_it(stage: Stage) -> None:
    await provide(stage, symbols=("BTC/USD", "ETH/USD"))
    await list_assets(stage, "alpha", ["AAPL"], asset_class="equity", exchange="XNAS")
    await list_assets(stage, "alpha", ["MSFT"], asset_class="equity", exchange="XNYS")
    classes = subscription_pb2.AssetSelector(asset_classes=[values_pb2.ASSET_CLASS_EQUITY])
    filtered = subscription_pb2.AssetSelector(asset_classes=[values_pb2.ASSET_CLASS_EQUITY], filter='exchange = "XNYS"')

    one = (await stage.subscriptions.CreateSubscription(request(assets=classes))).subscription
    two = (await stage.subscriptions.CreateSubscription(request(assets=filtered))).subscription

    assert await series(stage, subscription_id=one.subscription_id) == [
        ("AAPL", "UNSPECIFIED"),
        ("MSFT", "UNSPECIFIED"),
    ]
    assert await series(stage, subscription_id=two.subscription_id) == [("MSFT", "UNSPECIFIED")]


async def test_a_condition_with_a_wrong_field_is_refused_with_its_path(stage: Stage) -> None:
    await provide(stage)
    wrong = subscription_pb2.AssetSelector(filter='colour = "red"')

    failure = await failure_of(stage.subscriptions.CreateSubscription(request(assets=wrong)))

    assert failure.reason == "INVALID_FILTER"
    assert list(failure.violations) == ["subscription.selector.assets.filter"]


async def test_a_series_is_listed_once_with_all_that_its_active_subscriptions_want(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    history = New(
        provider="alpha", interval="1d", selector=Selector(symbol="A"), historical=True, cron="0 18 * * 1-5", note="x"
    )
    both = New(
        provider="alpha",
        interval="1d",
        selector=Selector(symbols=subscription_pb2.SymbolList(symbols=["A", "B"])),
        live=True,
        store_ticks=True,
    )
    for new in (history, both):
        await stage.subscriptions.CreateSubscription(pb.CreateSubscriptionRequest(subscription=new))

    answer = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest())

    found = {one.key.symbol: one for one in answer.series}
    assert sorted(found) == ["A", "B"]
    assert (found["A"].historical, found["A"].live, found["A"].store_ticks) == (True, True, True)
    assert [cron.cron for cron in found["A"].crons] == ["0 18 * * 1-5"]
    assert len(found["A"].subscription_ids) == 2
    assert (found["B"].historical, found["B"].live) == (False, True)


async def test_pages_of_series_cover_all_of_them_once(stage: Stage) -> None:
    symbols = tuple(f"S{number:03}" for number in range(57))
    await provide(stage, symbols=symbols)
    names = subscription_pb2.SymbolList(symbols=[*symbols, "UNKNOWN"])
    await stage.subscriptions.CreateSubscription(request(symbols=names))

    seen, token = [], ""
    while True:
        page = await stage.subscriptions.ListSubscribedSeries(
            pb.ListSubscribedSeriesRequest(page_size=10, page_token=token)
        )
        seen += [one.key.symbol for one in page.series]
        token = page.next_page_token
        if not token:
            break

    assert seen == ["", *symbols]
