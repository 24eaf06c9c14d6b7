"""Pages of more subscribed series than one page may look at."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from registry.store.subscription_listing import SERIES
from tests.integration.registry.stage import Stage, provide

assert SERIES.walk is not None
LOOK = SERIES.walk.look
MANY, TWICE, OPEN = LOOK + 700, 300, 20
_SELECT = """
with made as (
    insert into registry.provider_subscription (
        code_id, provider, interval, selection_kind, selection_name, selection_names, selection_key, selector, state
    )
    select code_id, name, '1d', 'assets', $2, '{}', sha256($2::text::bytea), '{"assets": {}}', $3
    from registry.code_registry where name = $1
    returning subscription_id
)
insert into registry.subscription_symbols (subscription_id, symbol)
select m.subscription_id, 'S' || lpad(i::text, 5, '0') from made m, generate_series(1, $4::integer) i
"""
_OPEN = """
insert into registry.subscription_unresolved (subscription_id, name, cause)
select s.subscription_id, 'U' || lpad(i::text, 5, '0'), 'UNMAPPED'
from registry.provider_subscription s, generate_series(1, $2::integer) i where s.selection_name = $1
"""


@pytest_asyncio.fixture(loop_scope="session")
async def crowded(stage: Stage) -> AsyncGenerator[Stage]:
    """A registry with many series of one provider, some of them selected twice, and few of another one.

    No assets stand behind them: whoever brings selections up to date would take them away, so it has its turn later.
    """
    async with stage.database.transaction() as connection:
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('registry selections', 0))")
        yield await _crowd(stage)


async def _crowd(stage: Stage) -> Stage:
    for name in ("alpha", "beta"):
        await provide(stage, name)
    for name, selection, state, count in (
        ("alpha", "all", "ACTIVE", MANY),
        ("alpha", "some", "PAUSED", TWICE),
        ("beta", "paused", "PAUSED", TWICE),
    ):
        await stage.database.execute(_SELECT, name, selection, state, count)
    await stage.database.execute(_OPEN, "some", OPEN)
    return stage


async def pages(stage: Stage, page_size: int = 1000, **query: Any) -> list[list[str]]:
    """Return the names of the series of every page."""
    found, token = [], ""
    while True:
        request = pb.ListSubscribedSeriesRequest(page_size=page_size, page_token=token, **query)
        page = await stage.subscriptions.ListSubscribedSeries(request)
        found.append([f"{one.key.provider}/{one.key.symbol or one.unresolved_name}" for one in page.series])
        token = page.next_page_token
        if not token:
            return found


def expected(provider: str, count: int, letter: str = "S") -> list[str]:
    """Return the names of series in order."""
    return [f"{provider}/{letter}{number:05}" for number in range(1, count + 1)]


EVERY = [*expected("alpha", OPEN, "U"), *expected("alpha", MANY), *expected("beta", TWICE)]


@pytest.mark.parametrize("page_size", [1000, 170])
async def test_every_series_comes_once_and_in_order(crowded: Stage, page_size: int) -> None:
    found = await pages(crowded, page_size)

    assert [name for page in found for name in page] == EVERY
    assert max(len(page) for page in found) == page_size


async def test_behind_a_filter_that_few_pass_pages_are_short_and_together_complete(crowded: Stage) -> None:
    paused = [*expected("alpha", OPEN, "U"), *expected("beta", TWICE)]

    found = await pages(crowded, filter="active = false")
    small = await pages(crowded, 50, filter="active = false")

    assert [name for page in found for name in page] == paused
    assert [name for page in small for name in page] == paused
    assert len(found[0]) < len(paused)


async def test_a_series_that_is_selected_twice_names_both_where_both_count(crowded: Stage) -> None:
    await crowded.database.execute("update registry.provider_subscription set state = 'ACTIVE'")
    request = pb.ListSubscribedSeriesRequest(filter='symbol = "S00007"')

    answer = await crowded.subscriptions.ListSubscribedSeries(request)

    assert [(one.key.provider, len(one.subscription_ids)) for one in answer.series] == [("alpha", 2), ("beta", 1)]
    assert answer.next_page_token == ""


async def test_providers_and_parts_of_symbols_can_be_chosen(crowded: Stage) -> None:
    either = await pages(crowded, 1000, filter='symbol:"S000" OR symbol = "none"')
    assert [page for page in await pages(crowded, filter='provider = "beta"') if page] == [expected("beta", TWICE)]
    assert [name for page in either for name in page] == [*expected("alpha", 99), *expected("beta", 99)]


async def test_the_series_of_one_subscription_are_all_of_it(crowded: Stage) -> None:
    some = await crowded.database.fetchval(
        "select subscription_id from registry.provider_subscription where selection_name = 'some'"
    )
    found = await pages(crowded, 100, subscription_id=str(some))
    assert [name for page in found for name in page] == [*expected("alpha", OPEN, "U"), *expected("alpha", TWICE)]
