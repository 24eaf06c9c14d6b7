"""Each built-in provider on its stage: a local server that plays its vendor, and what is known of the data there."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quasar.model.instants import TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.provider import Constituent, Provider
from quasar.providers import BUILTIN
from quasar.testing.databento_server import DEMO_KEY
from quasar.testing.vendors import (
    DEMO_TOKEN,
    Cci30Server,
    DatabentoServer,
    EodhdServer,
    KrakenServer,
    LocalServer,
    RecordedExchange,
    SimulatedExchange,
)
from tests.unit.recorded import recorded

MINUTE_NS = 60_000_000_000


@dataclass
class Stage:
    """A provider, where its vendor is, and what is there."""

    provider: str
    symbol: str = ""
    interval: str = "1min"
    span: TimeRange = field(default_factory=lambda: recent(30))
    """A range with bars in it."""
    bars: int = 1
    """How many there are at least."""
    unknown: str = "NO-SUCH-SYMBOL"
    preferences: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    server: LocalServer | None = None
    exchange: str = ""
    """Exchange whose symbols are listed."""
    asks: int = 1
    """Calls that are made before the first bar."""

    @property
    def length(self) -> Interval:
        return Interval.parse(self.interval)

    @property
    def kraken(self) -> KrakenServer:
        assert isinstance(self.server, KrakenServer)
        return self.server

    def made(self, context: Any) -> Provider:
        """Return the provider as the platform makes it."""
        module, _, name = BUILTIN[self.provider].partition(":")
        kind = getattr(__import__(module, fromlist=[name]), name)
        provider: Provider = kind(context, self.preferences)
        return provider

    def code(self) -> CodeVersion:
        """Return it as the platform runs it."""
        return CodeVersion(
            kind=Kind.PROVIDER,
            name=self.provider,
            builtin=BUILTIN[self.provider],
            preferences=self.preferences,
            secrets=self.secrets,
        )


def recent(minutes: int) -> TimeRange:
    """Return the whole minutes before now."""
    end = to_ns(dt.datetime.now(dt.UTC)) // MINUTE_NS * MINUTE_NS
    return TimeRange(end - minutes * MINUTE_NS, end)


def _json(path: str) -> Any:
    raw = recorded(path).read_bytes()
    return json.loads(gzip.decompress(raw) if path.endswith(".gz") else raw)


@asynccontextmanager
async def kraken(folder: Path) -> AsyncIterator[Stage]:
    """Kraken over a simulated market, live too."""
    async with KrakenServer(SimulatedExchange(), pace_s=0.02) as server:
        preferences = {"rest_url": server.rest_url, "websocket_url": server.websocket_url}
        yield Stage("kraken", "BTC/USD", bars=30, preferences=preferences, server=server)


@asynccontextmanager
async def kraken_recorded(folder: Path) -> AsyncIterator[Stage]:
    """Kraken's REST side as it was recorded in November 2025."""
    pairs = _json("kraken/rest/http_asset_pairs.json")["result"]
    rows = _json("kraken/rest/http_ohlc.json.gz")["result"]["XBTUSDT"]
    async with KrakenServer(RecordedExchange(pairs, ohlc={("XBTUSDT", 1): rows})) as server:
        span = TimeRange(rows[0][0] * 1_000_000_000, rows[-1][0] * 1_000_000_000)
        preferences = {"rest_url": server.rest_url, "websocket_url": server.websocket_url}
        yield Stage("kraken", "BTC/USDT", span=span, bars=504, preferences=preferences, server=server)


@asynccontextmanager
async def ccxt(folder: Path) -> AsyncIterator[Stage]:
    """The library ccxt against the same server as Kraken: two clients of independent origin agree on it."""
    async with KrakenServer(SimulatedExchange(), pace_s=0.02) as server:
        websocket = server.websocket_url.removesuffix("/v2")
        preferences = {"rest_url": server.rest_url, "websocket_url": websocket, "pace": 1, "ping": 1.0}
        yield Stage("ccxt", "BTC/USD", bars=30, preferences=preferences, server=server)


@asynccontextmanager
async def eodhd(folder: Path) -> AsyncIterator[Stage]:
    """EODHD as it was recorded in October 2025."""
    days = json.loads(_json("eodhd/eod_BHP.AU.http.json.gz")["response"]["body"])
    listed = json.loads(_json("eodhd/exchange-symbol-list_AU_earlier.http.json.gz")["response"]["body"])
    async with EodhdServer({"eod/BHP.AU": days, "exchange-symbol-list/AU": listed}) as server:
        yield Stage(
            "eodhd",
            "BHP.AU",
            "1d",
            TimeRange(to_ns(dt.datetime(2025, 9, 1, tzinfo=dt.UTC)), to_ns(dt.datetime(2025, 10, 3, tzinfo=dt.UTC))),
            bars=24,
            preferences={"base_url": server.base_url, "exchanges": "AU"},
            secrets={"api_token": DEMO_TOKEN},
            server=server,
            exchange="AU",
        )


@asynccontextmanager
async def eodhd_intraday(folder: Path) -> AsyncIterator[Stage]:
    """EODHD's five minutes of Apple as they were recorded; the closing bar of each session has no volume."""
    rows = json.loads(_json("eodhd/intraday5m_AAPL.US_2025-06-07.http.json.gz")["response"]["body"])
    async with EodhdServer({"intraday/AAPL.US": rows, "exchange-symbol-list/US": []}) as server:
        yield Stage(
            "eodhd",
            "AAPL.US",
            "5min",
            TimeRange(to_ns(dt.datetime(2025, 6, 9, tzinfo=dt.UTC)), to_ns(dt.datetime(2025, 7, 1, tzinfo=dt.UTC))),
            bars=1000,
            preferences={"base_url": server.base_url, "exchanges": "US"},
            secrets={"api_token": DEMO_TOKEN},
            server=server,
        )


@asynccontextmanager
async def databento(folder: Path) -> AsyncIterator[Stage]:
    """Databento's own samples, encoded anew by its own library."""
    import databento as vendor

    schemas = {"ohlcv-1m": "ohlcv-1m", "ohlcv-1h": "ohlcv-1h", "ohlcv-1d": "ohlcv-1d", "trades": "trades"}
    paths = {("GLBX.MDP3", schema): name for schema, name in schemas.items()}
    paths |= {("GLBX.MDP3", "definition"): "definition.futures_contract"}
    stores = {
        key: [vendor.DBNStore.from_bytes(recorded(f"databento/test_data.{name}.dbn.zst").read_bytes())]
        for key, name in paths.items()
    }
    start, end = dt.datetime(2020, 12, 28, 13, tzinfo=dt.UTC), dt.datetime(2026, 6, 27, tzinfo=dt.UTC)
    async with DatabentoServer(stores, {"GLBX.MDP3": TimeRange(to_ns(start), to_ns(end))}) as server:
        yield Stage(
            "databento",
            "ESH1",
            span=TimeRange(to_ns(start), to_ns(start + dt.timedelta(hours=1))),
            bars=2,
            preferences={"base_url": server.base_url, "dataset": "GLBX.MDP3", "daily_dataset": "GLBX.MDP3"},
            secrets={"api_key": DEMO_KEY},
            server=server,
            asks=2,
        )


@asynccontextmanager
async def files(folder: Path) -> AsyncIterator[Stage]:
    """A folder with a recorded CSV file, and a Parquet file of minutes until now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from quasar.providers.market import Market

    span = recent(30)
    rows = Market().minute_bars("BTC/USD", span.start_ns, span.end_ns + MINUTE_NS)
    table = pa.table(
        {
            "open_time": pa.array(rows.open_time_ns, pa.timestamp("ns", "UTC")),
            **{name: getattr(rows, name) for name in ("open", "high", "low", "close", "volume")},
        }
    )
    pq.write_table(table, folder / "BTC_USD-1min.parquet")
    (folder / "GOOG-1d.csv").write_bytes(recorded("ohlcv/backtesting/GOOG.csv").read_bytes())
    yield Stage("files", "BTC/USD", span=span, bars=30, preferences={"folder": str(folder), "poll": 0.05})


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[Stage]:
    """The market without a vendor."""
    yield Stage("simulated", "BTC/USD", bars=30, preferences={"pace": 0.05})


@asynccontextmanager
async def cci30(folder: Path) -> AsyncIterator[Stage]:
    """The page of the index, in its shape; no recording of it is known."""
    async with Cci30Server() as server:
        yield Stage("cci30", preferences={"base_url": server.base_url}, server=server)


Open = Callable[[Path], AbstractAsyncContextManager[Stage]]

HISTORY: dict[str, Open] = {
    "kraken": kraken,
    "kraken-recorded": kraken_recorded,
    "ccxt": ccxt,
    "eodhd": eodhd,
    "eodhd-intraday": eodhd_intraday,
    "databento": databento,
    "files": files,
    "simulated": simulated,
}
INDEX: dict[str, Open] = {"cci30": cci30}
VENDORS: dict[str, Open] = {
    name: HISTORY[name] for name in ("kraken", "ccxt", "eodhd", "eodhd-intraday", "databento")
} | INDEX
"""Those that call somebody."""
LIVE: dict[str, Open] = {name: HISTORY[name] for name in ("kraken", "ccxt", "files", "simulated")}
CONNECTED: dict[str, Open] = {name: HISTORY[name] for name in ("kraken", "ccxt")}
"""Those that hold a connection."""
ALL: dict[str, Open] = HISTORY | INDEX

__all__ = ["ALL", "CONNECTED", "HISTORY", "INDEX", "LIVE", "VENDORS", "Constituent", "Open", "Stage", "recent"]
