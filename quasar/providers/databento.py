"""Databento: bars, trades and definitions of its historical service, through its own client library.

Source: databento.com/docs. Traps that the code minds: prices are whole numbers of 1e-9; a range beyond what a dataset
has is refused, so that it is cut to it first; a dataset of several publishers has a bar of each for the same minute; a
symbol that is known and silent is answered with a warning and no rows; a missing value is the largest number.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from quasar import errors
from quasar.model.instants import TimeRange, day_ns, ns_date, to_ns
from quasar.model.intervals import Interval
from quasar.provider import (
    BarColumns,
    BarRequest,
    BarState,
    HistoryItem,
    Instrument,
    Preference,
    Provider,
    RejectedRow,
    Secret,
    Side,
    Throttled,
    TickColumns,
    TickItem,
    TickRequest,
    Unauthorised,
    UnknownSymbol,
    Unsupported,
)
from quasar.sdk.attempts import Attempts, Failure

SCHEMAS: Final = {"1min": "ohlcv-1m", "1h": "ohlcv-1h", "1d": "ohlcv-1d"}
_DAY_NS: Final = 86_400_000_000_000
_STRETCH_NS: Final = {"1min": 31 * _DAY_NS, "1h": 731 * _DAY_NS, "1d": 36_600 * _DAY_NS}
_MISSING: Final = (1 << 63) - 1
_KNOWN_FOR_NS: Final = 600_000_000_000
_DAYS_BACK: Final = 10
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_CONTINUOUS = re.compile(r"\.[cvn]\.\d+$")
_CLASS: Final = {b"K": "equity", b"F": "future", b"C": "option", b"P": "option", b"B": "bond", b"X": "currency"}
_SIDES: Final = {b"B": Side.BUY, b"A": Side.SELL}
_REFUSED: Final = frozenset({401, 402, 403})


class Databento(Provider):
    """History of Databento's datasets: stocks, futures and options of the American venues and others."""

    name = "databento"
    version = "1"
    intervals = tuple(SCHEMAS)
    rate_limit = (20, 1.0)
    concurrency = 5
    hosts = ("hist.databento.com",)
    secrets = (Secret("api_key", "The API key of the Databento account, db-…"),)
    publication_delay = dt.timedelta(hours=24)  # what is younger needs a licence for live data

    base_url = Preference(
        "https://hist.databento.com", description="Where the historical service is.", needs_restart=True
    )
    dataset = Preference("EQUS.MINI", description="Dataset of minutes, hours, trades and symbols, such as GLBX.MDP3.")
    daily_dataset = Preference("EQUS.SUMMARY", description="Dataset of days; consolidated over the venues by default.")

    async def start(self) -> None:
        """Begin without a client; the library is loaded with the first question."""
        self._made: Any = None
        self._ranges: dict[str, tuple[int, TimeRange]] = {}

    async def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield the bars of a symbol in columns. Days begin at 00:00 UTC, as Databento counts them."""
        schema = SCHEMAS.get(request.interval)
        if schema is None:
            raise Unsupported(f"interval must be one of {', '.join(SCHEMAS)}, was {request.interval!r}")
        dataset = self.daily_dataset if request.interval == "1d" else self.dataset
        there = await self._available(dataset)
        for span in _stretches(request.span.intersect(there), _STRETCH_NS[request.interval]):
            rows = await self._rows(dataset, schema, request.symbol, span)
            yield bars_of(rows, request.length, there.end_ns).within(request.span)

    async def ticks(self, request: TickRequest) -> AsyncIterator[TickItem]:
        """Yield the trades of a symbol in columns."""
        there = await self._available(self.dataset)
        span = TimeRange(request.start_ns, request.end_ns).intersect(there)
        for part in _stretches(span, _DAY_NS):
            yield trades_of(await self._rows(self.dataset, "trades", request.symbol, part), request)

    async def symbols(self, exchange: str = "") -> AsyncIterator[Instrument | RejectedRow]:
        """Yield the instruments that the dataset defined on its newest day with definitions."""
        there = await self._available(self.dataset)
        newest = ns_date(there.end_ns - 1)
        for back in range(_DAYS_BACK):
            start = day_ns(newest - dt.timedelta(days=back))
            span = TimeRange(start, start + _DAY_NS).intersect(there)
            if span is None:
                return
            rows = await self._rows(self.dataset, "definition", "ALL_SYMBOLS", span)
            for item in self._instruments(rows):
                if not exchange or (isinstance(item, Instrument) and item.exchange == exchange):
                    yield item
            if len(rows):
                return

    def _instruments(self, rows: Any) -> Iterator[Instrument | RejectedRow]:
        found = {bytes(row["raw_symbol"]): row for row in rows}  # the last definition of the day is the one in force
        for name, row in sorted(found.items()):
            kind = _CLASS.get(bytes(row["instrument_class"]))
            if kind is None:
                continue  # spreads of several legs
            symbol = name.decode()
            try:
                yield self.instrument(
                    symbol,
                    asset_class=kind,
                    exchange=_text(row["exchange"]),
                    quote_currency=_text(row["currency"]) or "USD",
                    external_id=str(int(row["instrument_id"])),
                    price_step=_step(row["min_price_increment"]),
                    matcher_symbol=_text(row["asset"]) or symbol,
                )
            except errors.InvalidArgument as error:
                yield RejectedRow(error.message, {"raw_symbol": symbol}, symbol=symbol)

    # The client.

    async def _available(self, dataset: str) -> TimeRange:
        known = self._ranges.get(dataset)
        if known is None or self.clock.time_ns() - known[0] > _KNOWN_FOR_NS:
            client = self._client()
            # The library asks for metadata with a blocking client only.
            answer = await self._ask(lambda: asyncio.to_thread(client.metadata.get_dataset_range, dataset), dataset)
            known = (self.clock.time_ns(), _range(answer, dataset))
            self._ranges[dataset] = known
        return known[1]

    async def _rows(self, dataset: str, schema: str, symbol: str, span: TimeRange) -> Any:
        client = self._client()
        terms = {"dataset": dataset, "schema": schema, "symbols": symbol, "start": span.start_ns, "end": span.end_ns}
        kind = "continuous" if _CONTINUOUS.search(symbol) else "raw_symbol"

        async def ask() -> Any:
            # "No data found" is an answer here, and how the library calls aiohttp is its own affair.
            warnings.filterwarnings("ignore", message="No data found")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"databento\.")
            store = await client.timeseries.get_range_async(**terms, stype_in=kind)
            return store.to_ndarray().reshape(-1)

        return await self._ask(ask, symbol)

    async def _ask(self, ask: Callable[[], Awaitable[Any]], subject: str) -> Any:
        attempts = Attempts(self.permit, self.clock, self.context.jitter)
        return await attempts.make(ask, lambda error: _judged(error, subject, self.clock.now()))

    def _client(self) -> Any:
        if self._made is None:
            try:
                from databento.historical.client import Historical
            except ModuleNotFoundError as error:
                raise errors.FailedPrecondition(
                    "the provider databento needs the library of that name: install quasar-platform[databento]; "
                    f"it was absent ({error.name})"
                ) from error
            self._made = _at(Historical(self.secret("api_key"), self.base_url), self.base_url)
        return self._made


def _at(client: Any, url: str) -> Any:
    """Return the client, which insists on TLS, without it where a server on this machine stands for Databento."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        if parts.hostname not in _THIS_MACHINE:
            raise errors.InvalidArgument(
                f"preference base_url must begin with https://, since the key is sent there; was {url!r}"
            )
        for part in (client.timeseries, client.metadata):
            part._base_url = part._base_url.replace("https://", "http://", 1)
    return client


# Pure, and tested so.


def bars_of(rows: Any, length: Interval, known_until_ns: int) -> BarColumns:
    """Read OHLCV records: a structured array with `ts_event`, prices in 1e-9, `volume`, `publisher_id`.

    A bar that ends after what the dataset knows is `FORMING`. Of several publishers the one with the most volume is
    kept, since the first and last price of all of them together cannot be told from theirs.
    """
    rows = _one_publisher(rows)
    times = rows["ts_event"].astype(np.int64)
    ends = length.closes(times) if len(times) else times
    return BarColumns(
        open_time_ns=times,
        **{name: _prices(rows[name]) for name in ("open", "high", "low", "close")},
        volume=rows["volume"].astype(np.float64),
        state=np.where(ends > known_until_ns, BarState.FORMING, BarState.CLOSED).astype(np.uint8),
    )


def trades_of(rows: Any, request: TickRequest) -> TickColumns:
    """Read trade records whose `ts_event` lies in the range; Databento cuts by the time of receipt."""
    times = rows["ts_event"].astype(np.int64)
    rows = rows[(times >= request.start_ns) & (times < request.end_ns)]
    sides = [_SIDES.get(bytes(side), Side.UNKNOWN) for side in rows["side"]]
    return TickColumns(
        event_time_ns=rows["ts_event"].astype(np.int64),
        price=_prices(rows["price"]),
        size=rows["size"].astype(np.float64),
        side=np.array(sides, np.uint8),
        venue_sequence=rows["sequence"].astype(np.int64),
    )


def _one_publisher(rows: Any) -> Any:
    publishers = np.unique(rows["publisher_id"])
    if len(publishers) < 2:
        return rows
    volumes = [int(rows["volume"][rows["publisher_id"] == one].sum()) for one in publishers]
    return rows[rows["publisher_id"] == publishers[int(np.argmax(volumes))]]


def _prices(values: Any) -> Any:
    # Dividing keeps the vendor's decimal: 372025 and not 372025.00000000006.
    return np.where(values == _MISSING, np.nan, values / 1e9)


def _stretches(span: TimeRange | None, length_ns: int) -> Iterator[TimeRange]:
    at = span.start_ns if span else 0
    while span and at < span.end_ns:
        yield TimeRange(at, min(span.end_ns, at + length_ns))
        at += length_ns


def _range(answer: Any, dataset: str) -> TimeRange:
    try:
        return TimeRange(*(to_ns(dt.datetime.fromisoformat(answer[name])) for name in ("start", "end")))
    except (KeyError, TypeError, ValueError, errors.InvalidArgument) as error:
        raise errors.VendorFailed(f"the range of {dataset} must have a start and an end, was {answer!r}") from error


def _judged(error: Exception, subject: str, now: dt.datetime) -> Failure:
    """Say what an error of the library means."""
    from quasar.sdk.http import retry_after_s

    status = getattr(error, "http_status", None)
    text = f"Databento, {subject}: {' '.join(str(error).split())[:300] or type(error).__name__}"
    if status is None:
        if isinstance(error, errors.QuasarError):
            raise error
        library = type(error).__module__.partition(".")[0]
        passing = isinstance(error, OSError | TimeoutError) or library in ("aiohttp", "requests")
        if isinstance(error, ValueError) or library == "databento":
            return Failure(errors.VendorFailed(f"{text} (the answer must be JSON or DBN)"), may_pass=False)
        return Failure(errors.VendorFailed(text), may_pass=passing)
    wait = retry_after_s({k.lower(): v for k, v in error.headers.items()}.get("retry-after"), now)  # type: ignore[attr-defined]
    if status == 429:
        return Failure(Throttled(text, retry_after_s=wait), may_pass=True, http_status=status)
    if status in _REFUSED:
        return Failure(Unauthorised(text), may_pass=False, http_status=status)
    if "symbol" in text.lower() and status in (400, 404, 422):
        return Failure(UnknownSymbol(text), may_pass=False, http_status=status)
    return Failure(errors.VendorFailed(text, retry_after_s=wait), may_pass=status >= 500, http_status=status)


def _text(value: Any) -> str:
    return bytes(value).decode(errors="replace").strip()


def _step(value: Any) -> Decimal | None:
    number = int(value)
    return Decimal(number).scaleb(-9).normalize() if 0 < number < _MISSING else None
