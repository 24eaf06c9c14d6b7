"""Lists of more rows than one page may look at, through the public calls."""

from __future__ import annotations

from typing import Any

import grpc
import pytest_asyncio

from quasar_proto.registry.v1 import asset_service_pb2 as pb
from quasar_proto.registry.v1 import mapping_service_pb2 as mappings_pb
from registry.store.walks import LOOK, SCATTERED, SORTED
from tests.integration.registry.instruments.world import World
from tests.integration.rpc.harness import failure_of

MANY, FEW = SORTED + 1_000, 300
_FILL = """
insert into registry.assets (
    code_id, symbol, name, name_key, exchange, country, matcher_symbol, root_symbol, full_symbol, match_key
)
select $1, 'S' || lpad(i::text, 6, '0'), case when i % 3 = 0 then '' else 'Name ' || md5(i::text) end, md5(i::text),
    case when i % 2 = 0 then 'XNAS' else 'XLON' end, case when i % 40000 = 39999 then 'ZW' else 'US' end, '', '', '', ''
from generate_series(1, $2::integer) i
"""
_NAME = (
    "insert into registry.common_symbols (symbol) select 'C' || lpad(i::text, 6, '0') from generate_series(1, 9000) i"
)
_MAP = """
insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin)
select a.asset_id, a.code_id, s.common_symbol_id, 'AUTOMATIC'
from registry.common_symbols s join registry.assets a on a.code_id = $1 and a.symbol = 'S' || substr(s.symbol, 2)
where a.symbol <= $2
"""


@pytest_asyncio.fixture(loop_scope="session")
async def crowded(world: World) -> World:
    """A registry with more assets than can be sorted, of a large source and a small one."""
    await world.owner.execute(_NAME)
    for name, count in (("large", MANY), ("small", FEW)):
        code_id = await world.add_code(name)
        async with world.owner.transaction() as connection:
            await connection.execute("set local statement_timeout = '2min'")
            await connection.execute(_FILL, code_id, count)
            await connection.execute(_MAP, code_id, "S000200" if name == "small" else "S009000")
    await world.owner.execute("analyze registry.assets")
    return world


async def pages(world: World, **query: Any) -> list[list[str]]:
    """Return the symbols of every page."""
    found, token = [], ""
    while True:
        page = await world.assets.ListAssets(pb.ListAssetsRequest(page_token=token, page_size=1000, **query))
        found.append([f"{each.key.source.name}/{each.key.symbol}" for each in page.assets])
        token = page.next_page_token
        if not token:
            return found


async def test_behind_a_filter_that_few_pass_pages_are_short_and_together_complete(crowded: World) -> None:
    wanted = ["large/S039999", "large/S079999"]
    for order, look in (("", LOOK), ("symbol", SCATTERED), ("source.name desc", LOOK), ("name", SCATTERED)):
        found = await pages(crowded, filter='country = "zw"', order_by=order)
        assert sorted(symbol for page in found for symbol in page) == wanted, order
        assert MANY // look <= len(found) <= 2 * (MANY // look) + 3, order
        assert len(found[0]) < 2, order
    (last,) = [page for page in await pages(crowded, filter='country = "ZW"') if "large/S079999" in page]
    assert last == ["large/S079999"]


async def test_pages_along_an_index_have_every_asset_once_and_in_order(crowded: World) -> None:
    wanted = 'exchange = "XNAS" AND source.name = "small"'
    for order in ("", "symbol desc", "name", "source.kind desc"):
        found = [symbol for page in await pages(crowded, filter=wanted, order_by=order) for symbol in page]
        assert len(found) == len(set(found)) == FEW // 2, order
        if order != "name":
            assert found == sorted(found, reverse=order.endswith("desc")), order
    by_symbol = await pages(crowded, filter='symbol:"S0000"', order_by="symbol")
    flat = [symbol.partition("/")[2] for page in by_symbol for symbol in page]
    assert flat == sorted(flat)
    assert len(flat) == 2 * 99


async def test_an_order_that_no_index_gives_is_refused_among_many_and_given_among_few(crowded: World) -> None:
    request = pb.ListAssetsRequest(order_by="exchange, country desc")
    failure = await failure_of(crowded.assets.ListAssets(request))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")
    for word in ("order_by must be one of", "symbol desc", "source.name", "100,000", "was 'exchange, country desc'"):
        assert word in failure.message
    (page,) = await pages(crowded, filter='source.name = "SMALL"', order_by="exchange, symbol")
    assert page[0] == "small/S000001"
    assert page[FEW // 2] == "small/S000002"
    assert await pages(crowded, filter='symbol = "s000007"', order_by="exchange") == [
        ["large/S000007", "small/S000007"]
    ]


async def test_what_a_filter_names_is_found_by_an_index_in_any_order(crowded: World) -> None:
    assert await pages(crowded, filter='common_symbol = "c000150"') == [["large/S000150", "small/S000150"]]
    assert await pages(crowded, filter='common_symbol = "c000150" AND exchange = "XLON"') == [[]]
    assert await pages(crowded, filter='symbol = "S000150" AND common_symbol = ""') == [[]]


async def test_mappings_go_source_by_source_and_end_early_too(crowded: World) -> None:
    async def listed(**query: Any) -> list[list[str]]:
        found, token = [], ""
        while True:
            request = mappings_pb.ListMappingsRequest(page_token=token, page_size=1000, **query)
            page = await crowded.mappings.ListMappings(request)
            found.append([f"{each.asset.source.name}/{each.common_symbol}" for each in page.mappings])
            token = page.next_page_token
            if not token:
                return found

    every = [mapping for page in await listed() for mapping in page]
    assert len(every) == 9_200
    assert every == sorted(every)
    none = await listed(filter='exchange = "NOPE"')
    assert none == [[], []]
    assert [mapping for page in await listed(filter='source.name = "small"') for mapping in page] == every[9_000:]


async def test_common_symbols_are_counted_behind_any_filter(crowded: World) -> None:
    request = mappings_pb.ListCommonSymbolsRequest(filter="mapping_count = 2", page_size=1000)
    page = await crowded.mappings.ListCommonSymbols(request)
    assert len(page.common_symbols) == 200
    request.page_token = page.next_page_token
    if page.next_page_token:
        assert len((await crowded.mappings.ListCommonSymbols(request)).common_symbols) == 0
