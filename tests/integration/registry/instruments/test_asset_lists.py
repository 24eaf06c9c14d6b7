from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.asset_calls import CRYPTO, EQUITY, ETF, listed, symbols
from tests.integration.registry.instruments.world import World, provider
from tests.integration.rpc.harness import failure_of


async def pages(world: World, **query: Any) -> AsyncIterator[Any]:
    token = ""
    while True:
        page = await world.assets.ListAssets(pb.ListAssetsRequest(page_token=token, **query))
        yield page
        token = page.next_page_token
        if not token:
            return


async def test_pages_in_any_order_have_every_asset_once(world: World) -> None:
    for name in ("beta", "alpha"):
        await world.add_code(name)
        await symbols(
            world,
            name,
            *(
                ProviderSymbol(
                    symbol=f"S{i:03}", name=f"N{i % 7}" if i % 3 else "", asset_class=(i % 3), exchange="XNAS" * (i % 2)
                )
                for i in range(40)
            ),
        )
    expected = {(name, f"S{i:03}") for name in ("alpha", "beta") for i in range(40)}
    for order in (
        "",
        "symbol desc",
        "name",
        "name desc",
        "exchange desc, symbol",
        "confidence",
        "asset_class, name desc",
    ):
        found = [a.key async for page in pages(world, page_size=7, order_by=order) for a in page.assets]
        assert len(found) == 80, order
        assert {(each.source.name, each.symbol) for each in found} == expected
    by_source = [a.key async for page in pages(world, page_size=7) for a in page.assets]
    assert [(k.source.name, k.symbol) for k in by_source] == sorted(expected)


async def test_what_is_not_known_comes_last_in_either_direction(world: World) -> None:
    await world.add_code("alpha")
    told = [ProviderSymbol(symbol=s, name=n) for s, n in (("A", ""), ("B", "beta"), ("C", "alpha"), ("D", ""))]
    await symbols(world, "alpha", *told)
    assert [a.key.symbol for a in await listed(world, order_by="name")] == ["C", "B", "A", "D"]
    assert [a.name for a in await listed(world, order_by="name desc")] == ["beta", "alpha", "", ""]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('source.name = "ALPHA"', {"AAPL", "BTC/USD", "SPY"}),
        ('asset_class = "stock"', {"AAPL"}),
        ("asset_class = ASSET_CLASS_ETF", {"SPY"}),
        ('name:"pple"', {"AAPL"}),
        ('symbol = "aapl"', {"AAPL"}),
        ('symbol = "*/USD"', {"BTC/USD"}),
        ('exchange = ""', {"BTC/USD"}),
        ('NOT exchange = "arcx"', {"AAPL", "BTC/USD"}),
        ("mapped = false AND state = LISTED", {"AAPL", "BTC/USD", "SPY"}),
        ('quote_currency = "usd" OR quote_currency = "eur"', {"BTC/USD"}),
        ('first_seen_time > "2020-01-01T00:00:00Z"', {"AAPL", "BTC/USD", "SPY"}),
        ("identity_state = NOT_APPLICABLE", set()),
        ("confidence >= 0", set()),
    ],
)
async def test_filters(world: World, text: str, found: set[str]) -> None:
    await world.add_code("alpha")
    await symbols(
        world,
        "alpha",
        ProviderSymbol(symbol="AAPL", name="Apple Inc.", asset_class=EQUITY, exchange="XNAS"),
        ProviderSymbol(symbol="SPY", name="SPDR", asset_class=ETF, exchange="ARCX"),
        ProviderSymbol(symbol="BTC/USD", asset_class=CRYPTO, base_currency="BTC", quote_currency="USD"),
    )
    assert {asset.key.symbol for asset in await listed(world, filter=text)} == found


async def test_a_wrong_filter_order_or_token_says_what_is_wrong(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", *(ProviderSymbol(symbol=s) for s in "ABC"))
    page = await world.assets.ListAssets(pb.ListAssetsRequest(page_size=1, order_by="symbol"))
    cases = [
        (pb.ListAssetsRequest(filter='colour = "red"'), "INVALID_FILTER"),
        (pb.ListAssetsRequest(filter='asset_class = "fut"'), "INVALID_FILTER"),
        (pb.ListAssetsRequest(filter="((("), "INVALID_FILTER"),
        (pb.ListAssetsRequest(order_by="colour"), "INVALID_FILTER"),
        (pb.ListAssetsRequest(order_by="symbol, symbol"), "INVALID_FILTER"),
        (pb.ListAssetsRequest(page_token="nonsense"), "INVALID_CURSOR"),
        (pb.ListAssetsRequest(page_token=page.next_page_token, order_by="name"), "INVALID_CURSOR"),
        (pb.ListAssetsRequest(page_size=1001), "INVALID_ARGUMENT"),
    ]
    for request, reason in cases:
        assert (await failure_of(world.assets.ListAssets(request))).info.reason == reason, request


async def test_counts_in_several_dimensions_and_the_total(world: World) -> None:
    await world.add_code("alpha")
    await symbols(
        world,
        "alpha",
        ProviderSymbol(symbol="A", asset_class=EQUITY, exchange="XNAS"),
        ProviderSymbol(symbol="B", asset_class=EQUITY, exchange="XNYS"),
        ProviderSymbol(symbol="C"),
    )
    answer = await world.assets.CountAssets(pb.CountAssetsRequest())
    found = {
        asset_pb2.AssetDimension.Name(group.dimension): {count.value: count.count for count in group.counts}
        for group in answer.groups
    }
    assert answer.total == 3
    assert found == {
        "ASSET_DIMENSION_SOURCE": {"provider/alpha": 3},
        "ASSET_DIMENSION_ASSET_CLASS": {"EQUITY": 2, "": 1},
        "ASSET_DIMENSION_EXCHANGE": {"": 1, "XNAS": 1, "XNYS": 1},
        "ASSET_DIMENSION_IDENTITY_STATE": {"UNIDENTIFIED": 2, "NOT_APPLICABLE": 1},
    }
    every = [number for number in asset_pb2.AssetDimension.values() if number]
    answer = await world.assets.CountAssets(pb.CountAssetsRequest(dimensions=every, filter='exchange = "XNAS"'))
    assert [sum(count.count for count in group.counts) for group in answer.groups] == [1] * len(every)


async def test_quote_currencies_of_a_source(world: World) -> None:
    await world.add_code("alpha")
    pairs = [("BTC/USD", "USD"), ("ETH/USD", "USD"), ("BTC/EUR", "EUR")]
    await symbols(world, "alpha", *(ProviderSymbol(symbol=s, asset_class=CRYPTO, quote_currency=q) for s, q in pairs))
    answer = await world.assets.ListQuoteCurrencies(pb.ListQuoteCurrenciesRequest(source=provider("alpha")))
    assert [(each.currency, each.asset_count) for each in answer.currencies] == [("EUR", 1), ("USD", 2)]
    failure = await failure_of(world.assets.ListQuoteCurrencies(pb.ListQuoteCurrenciesRequest(source=provider("no"))))
    assert failure.code == grpc.StatusCode.NOT_FOUND


async def test_times_and_numbers_that_are_not_known_are_found(world: World) -> None:
    await world.add_code("alpha")
    world.vendors["alpha"].symbols = [ProviderSymbol(symbol="A", asset_class=EQUITY)]
    await world.sync("alpha", skip_matching=True, skip_mapping=True)
    for field in ("expire_time", "vanish_time", "confidence"):
        assert [each.key.symbol for each in await listed(world, filter=f'{field} = ""')] == ["A"], field
        assert await listed(world, filter=f'{field} != ""') == [], field
        assert await listed(world, filter=f'NOT {field} = ""') == [], field
