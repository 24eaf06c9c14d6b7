"""Live providers for tests, and the rows that subscribe to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format

from quasar.convert.manifest import manifest_to_proto
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.columns import Int64Array
from quasar.plugins.manifest import Kind, read_manifest
from quasar.provider import Provider
from quasar.providers.market import MINUTE_NS, Market
from quasar_proto.datahub.v1.gap_pb2 import Gap
from tests.integration.datahub.registry_rows import add_provider, subscribe

_FAST = """
from quasar.provider import Provider, UnknownSymbol
from quasar.providers.market import Market

BASE_NS = {base_ns}


class Fast(Provider):
    '''The simulated market, a minute every second, ahead of the clock: its bars close by their trades alone.'''

    name = "fast"
    intervals = ("1min",)
    calendar = "24/7"

    async def start(self):
        self._market = Market()

    def _now(self):
        return BASE_NS + (self.clock.time_ns() - BASE_NS) * 60

    async def ticks(self, request):
        if request.symbol not in self._market.listings:
            raise UnknownSymbol("nobody lists it")
        yield self._market.trades(request.symbol, request.start_ns, min(request.end_ns, self._now()))

    async def live(self, feed):
        seen = self._now()
        while True:
            await self.clock.sleep(0.02)
            now = self._now()
            for symbol in list(feed.symbols):
                if symbol in self._market.listings and len(trades := self._market.trades(symbol, seen, now)):
                    yield symbol, trades
            seen = now
"""
_CAPABILITIES = ["PROVIDER_CAPABILITY_LIVE_TICKS", "PROVIDER_CAPABILITY_HISTORICAL_TICKS"]
_FAST_MANIFEST = {"name": "fast", "kind": "CODE_KIND_PROVIDER", "class_name": "Fast", "intervals": ["1min"]}


async def fast_market(database: Database, *symbols: str, **declared: int) -> None:
    """Subscribe to live data of the fast market; `declared` are limits that its class declares."""
    source = _FAST.format(base_ns=time.time_ns()).encode()
    code_id = await add_provider(database, "fast", source, {**_FAST_MANIFEST, **declared})
    await live(database, code_id, *symbols)


async def built_in(database: Database, provider: type[Provider], preferences: Mapping[str, Any], *symbols: str) -> None:
    """Subscribe to live data of a provider of the platform."""
    found = read_manifest(Kind.PROVIDER, provider)
    manifest = json_format.MessageToDict(manifest_to_proto(found), preserving_proto_field_name=True)
    code_id = await add_provider(database, found.name, b"", manifest)
    await database.execute(
        "update registry.code_registry set built_in = true, preferences = $2 where code_id = $1",
        code_id,
        dict(preferences),
    )
    await live(database, code_id, *symbols)


async def live(database: Database, code_id: int, *symbols: str) -> None:
    """Subscribe to live data, ticks stored and nothing collected, of symbols of a provider."""
    await subscribe(database, code_id, *symbols)
    await database.execute(
        """update registry.provider_subscription set live = true, store_ticks = true, historical = false
           where code_id = $1""",
        code_id,
    )


async def live_kinds(database: Database, symbol: str, *kinds: str) -> None:
    """Subscribe to kinds of ticks of a symbol alone, without bars."""
    await database.execute(
        """update registry.provider_subscription set live = true, store_ticks = true, historical = false, interval = '',
               tick_kinds = $2 where $1 = any(selection_names)""",
        symbol,
        list(kinds),
    )
    await database.execute("notify registry_changed, 'subscriptions'")


async def stored_trades(database: Database, symbol: str) -> Int64Array:
    """Return the ids of the stored trades of a symbol, in the order in which they were numbered."""
    rows = await database.fetch(
        "select trade_id from ticks join series using (series_id) where symbol = $1 order by sequence", symbol
    )
    return np.array([row["trade_id"] for row in rows], np.int64)


async def stored_bars(database: Database, symbol: str) -> dict[int, tuple[float, ...]]:
    """Return open, high, low, close, volume and count of the stored live minutes of a symbol, by open time."""
    rows = await database.fetch(
        """select (extract(epoch from open_time) * 1e9)::bigint as at, open, high, low, close, volume, trade_count
           from live_data join series using (series_id) where symbol = $1 and interval = '1min' order by 1""",
        symbol,
    )
    return {row["at"]: tuple(row)[1:] for row in rows}


async def stored_within(database: Database, gap: Gap) -> list[int]:
    """Return the ids of the stored trades that lie in a gap."""
    rows = await database.fetch(
        """select trade_id from ticks where trade_id is not null and extract(epoch from event_time) * 1e9 + event_ns
           between $1::numeric and $2::numeric order by trade_id""",
        gap.start_time_ns + 1,
        gap.end_time_ns,
    )
    return [row["trade_id"] for row in rows]


async def until_stored(database: Database, symbol: str, count: int) -> Int64Array:
    """Wait until so many trades of a symbol are stored."""
    async with asyncio.timeout(40):
        while len(ids := await stored_trades(database, symbol)) < count:  # noqa: ASYNC110  # the table tells nobody
            await asyncio.sleep(0.05)
    return ids


def market_bars(symbol: str, times: list[int]) -> dict[int, tuple[float, ...]]:
    """Return what the market says about the same minutes."""
    bars = Market().minute_bars(symbol, times[0], times[-1] + MINUTE_NS)
    return by_time(bars)


def by_time(bars: BarColumns) -> dict[int, tuple[float, ...]]:
    """Return the figures of bars by open time."""
    assert bars.trade_count is not None
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.trade_count)
    return {int(at): tuple(float(c[row]) for c in columns) for row, at in enumerate(bars.open_time_ns)}


def without_a_hole(ids: list[int] | Int64Array) -> bool:
    """Tell whether ids count up by one from the first to the last; say where they do not."""
    found = np.asarray(ids)
    wrong = np.flatnonzero(np.diff(found) != 1)
    assert not len(wrong), f"row {wrong[0]} of {len(found)}: {found[max(0, wrong[0] - 2) : wrong[0] + 4].tolist()}"
    return bool(len(found))
