"""The demonstration's market: the simulated provider's symbols, their subscriptions and their history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from quasar.client.platform import Platform
from quasar.errors import FailedPrecondition
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import collection_pb2, market_data_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection_pb
from quasar_proto.registry.v1 import asset_service_pb2 as asset_pb
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as subscription_pb

PROVIDER: Final = "simulated"
MINUTES: Final = "1min"
DAYS: Final = "1d"
HISTORY: Final = {MINUTES: dt.timedelta(days=7), DAYS: dt.timedelta(days=365)}
"""How much history each interval gets."""
PATIENCE_S: Final = 120.0
"""How long the history of an interval may take."""


async def sync_symbols(platform: Platform) -> list[str]:
    """Make the Registry take over the provider's symbols, and return them.

    Raises:
        QuasarError: The provider cannot be asked.
    """
    source = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name=PROVIDER)
    started = await platform.assets.SyncAssets(asset_pb.SyncAssetsRequest(source=source))
    await platform.finished(started.operation)
    answer = await platform.assets.ListAssets(
        asset_pb.ListAssetsRequest(page_size=1000, filter=f'source.name = "{PROVIDER}"', order_by="symbol")
    )
    symbols = [asset.key.symbol for asset in answer.assets]
    if not symbols:
        raise FailedPrecondition(f"the provider {PROVIDER} must list symbols, listed none; see the DataHub's log")
    return symbols


async def subscribe(platform: Platform, symbols: Sequence[str]) -> tuple[int, int]:
    """Subscribe to all symbols: days, and minutes with live ticks. What exists stays as it is.

    Returns:
        How many subscriptions were made, and how many existed.
    """
    now = platform.clock.now()
    answer = await platform.subscriptions.BatchCreateSubscriptions(
        subscription_pb.BatchCreateSubscriptionsRequest(
            subscriptions=[_subscription(symbol, interval, now) for interval in HISTORY for symbol in symbols],
            skip_existing=True,
        )
    )
    return answer.created, answer.existing


def _subscription(symbol: str, interval: str, now: dt.datetime) -> subscription_pb2.NewSubscription:
    live = interval == MINUTES
    made = subscription_pb2.NewSubscription(
        provider=PROVIDER,
        selector=subscription_pb2.Selector(symbol=symbol),
        interval=interval,
        historical=True,
        live=live,
        store_ticks=live,
        tick_kinds=[market_data_pb2.TICK_KIND_TRADE, market_data_pb2.TICK_KIND_BOOK_TOP] if live else [],
        note="made by `quasar demo`",
    )
    made.backfill_start.FromDatetime(_start(interval, now))
    return made


async def backfill(platform: Platform, symbols: Sequence[str], interval: str) -> int:
    """Fetch what is missing of an interval's history for all symbols, and wait until it is there.

    New subscriptions fetch their history by themselves; this also fills what an earlier demonstration left out.

    Returns:
        How many bars of the symbols are stored.

    Raises:
        QuasarError: It failed.
    """
    now = platform.clock.now()
    keys = [values_pb2.SeriesKey(provider=PROVIDER, symbol=symbol, interval=interval) for symbol in symbols]
    request = collection_pb.BackfillRequest(series=[market_data_pb2.SeriesReference(key=key) for key in keys])
    request.range.start.FromDatetime(_start(interval, now))
    request.range.end.FromDatetime(now)
    started = await platform.collection.Backfill(request)
    await platform.finished(started.operation)
    return await _settled(platform, keys)


async def _settled(platform: Platform, keys: Sequence[values_pb2.SeriesKey]) -> int:
    """Wait until nothing is being fetched for the series, and return how many bars they have."""
    ends = platform.clock.monotonic() + PATIENCE_S
    request = collection_pb.BatchGetSubscriptionStatesRequest(keys=keys)
    while True:
        states = (await platform.collection.BatchGetSubscriptionStates(request)).states
        if not any(state.health == collection_pb2.SUBSCRIPTION_HEALTH_BACKFILLING for state in states):
            return sum(state.rows for state in states)
        if platform.clock.monotonic() > ends:
            raise FailedPrecondition(
                f"the history of {PROVIDER} must arrive within {PATIENCE_S:g} s, did not; see its runs in the console"
            )
        await platform.clock.sleep(0.25)


def _start(interval: str, now: dt.datetime) -> dt.datetime:
    """Return where the history begins: at a midnight, so that a second demonstration asks for the same."""
    return (now - HISTORY[interval]).replace(hour=0, minute=0, second=0, microsecond=0)
