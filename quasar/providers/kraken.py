"""Kraken, spot: live trades, quotes, tops of books and bars over WebSocket v2; bars, trades and pairs over REST.

Sources: docs.kraken.com/api, WebSocket v2 and REST. Traps that the code minds: `AssetPairs` writes `XBT/USD` and
`XDG/USD` where v2 wants `BTC/USD` and `DOGE/USD`; REST OHLC ends with the bar in progress and fills minutes without
trades with rows of zero volume, the v2 snapshot leaves such minutes out; times have up to nine decimals.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final

from quasar import errors
from quasar.model.intervals import Interval
from quasar.provider import (
    Bar,
    BarRequest,
    BarState,
    EmptyRange,
    GapCause,
    GapNotice,
    HistoryItem,
    HttpOptions,
    Instrument,
    LiveItem,
    LiveSymbol,
    Patience,
    Preference,
    RejectedRow,
    Side,
    SymbolNotice,
    SymbolState,
    Tick,
    TickFlag,
    TickItem,
    TickKind,
    TickRequest,
    Unauthorised,
    UnknownSymbol,
    Unsupported,
    WebSocketProvider,
)
from quasar.providers.kraken_book import Book, ChecksumFailed
from quasar.providers.kraken_live import MINUTES as MINUTES
from quasar.providers.kraken_live import live_bar, live_quote, live_trade
from quasar.providers.kraken_live import nanoseconds as nanoseconds

# v1 names that v2 and the rest of the world spell otherwise.
_RENAMED: Final = {"XBT": "BTC", "XDG": "DOGE"}
_ROWS_PER_ANSWER: Final = 720
_SECOND_NS: Final = 1_000_000_000


class Kraken(WebSocketProvider):
    """Kraken spot markets: history, live trades, quotes, top of book and bars."""

    name = "kraken"
    version = "1"
    intervals = tuple(MINUTES)
    rate_limit = (1, 1.0)  # public REST endpoints are counted together, about one call a second
    concurrency = 2
    hosts = ("api.kraken.com", "ws.kraken.com")
    history_depth: ClassVar = {
        code: dt.timedelta(minutes=minutes * _ROWS_PER_ANSWER) for code, minutes in MINUTES.items()
    }
    tick_kinds = ("trade", "quote", "book_top")
    asset_classes = ("crypto", "currency")
    calendar = "24/7"
    patience = Patience(heartbeat_s=5.0)  # the venue sends a heartbeat every second

    rest_url = Preference(
        "https://api.kraken.com",
        description="Where the REST interface is; another server is asked there.",
        needs_restart=True,
    )
    websocket_url = Preference(
        "wss://ws.kraken.com/v2", description="Where the WebSocket interface is.", needs_restart=True
    )
    book_depth = Preference(10, choices=(10, 25, 100, 500, 1000), description="Levels of the order book that is kept.")

    http_options = HttpOptions(timeout_s=20.0)

    async def start(self) -> None:
        """Begin with empty books and no known pairs."""
        self._books: dict[str, Book] = {}
        self._rest_names: dict[str, str] = {}

    # History.

    async def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield what REST keeps: the newest 720 bars of the interval."""
        minutes = MINUTES.get(request.interval)
        if minutes is None:
            raise Unsupported(f"interval must be one of {', '.join(MINUTES)}, was {request.interval!r}")
        pair = await self._rest_name(request.symbol)
        since = request.start_ns // _SECOND_NS - 1
        answer = await self._call("OHLC", {"pair": pair, "interval": minutes, "since": since})
        for item in parse_ohlc(_rows(answer), request.length, self.clock.time_ns()):
            if isinstance(item, EmptyRange) or request.start_ns <= _time_of(item) < request.end_ns:
                yield item

    async def ticks(self, request: TickRequest) -> AsyncIterator[TickItem]:
        """Yield the trades of a range, a thousand a call."""
        pair = await self._rest_name(request.symbol)
        since = request.start_ns - 1  # the venue answers with what came after it
        while True:
            answer = await self._call("Trades", {"pair": pair, "since": since, "count": 1000})
            rows = _rows(answer)
            for item in parse_rest_trades(rows):
                if isinstance(item, RejectedRow) or request.start_ns <= item.event_time_ns < request.end_ns:
                    yield item
            last = int(answer.get("last", 0))
            if len(rows) < 1000 or last >= request.end_ns or last <= since:
                return
            since = last

    async def symbols(self, exchange: str = "") -> AsyncIterator[Instrument | RejectedRow]:
        """Yield the pairs, by the names that WebSocket v2 knows them under."""
        for key, pair in (await self._call("AssetPairs", {})).items():
            yield self._instrument(key, pair)

    def _instrument(self, key: str, pair: Mapping[str, Any]) -> Instrument | RejectedRow:
        try:
            symbol = v2_symbol(str(pair["wsname"]))
            base, quote = symbol.split("/")
            return self.instrument(
                symbol,
                asset_class="currency" if str(pair["base"]).startswith("Z") else "crypto",
                name=f"{base} / {quote}",
                base_currency=base,
                quote_currency=quote,
                external_id=str(pair["altname"]),
                matcher_symbol=base,
                price_step=_decimal(pair.get("tick_size")) or _step(pair.get("pair_decimals")),
                size_step=_step(pair.get("lot_decimals")),
                minimum_size=_decimal(pair.get("ordermin")),
            )
        except (KeyError, ValueError, errors.InvalidArgument) as error:
            return RejectedRow(f"the pair {key} has no usable name: {error}", {"key": key, **dict(pair)})

    async def _rest_name(self, symbol: str) -> str:
        if not self._rest_names:
            pairs = await self._call("AssetPairs", {})
            named = [pair for pair in pairs.values() if "wsname" in pair]
            self._rest_names = {v2_symbol(pair["wsname"]): pair["altname"] for pair in named}
        try:
            return self._rest_names[symbol]
        except KeyError:
            raise UnknownSymbol(f"Kraken lists no pair {symbol!r}; pairs are written BTC/USD") from None

    async def _call(self, method: str, params: Mapping[str, str | int]) -> dict[str, Any]:
        answer = await self.http.json(f"{self.rest_url}/0/public/{method}", params)
        if not isinstance(answer, dict):
            raise errors.VendorFailed(f"Kraken must answer with an object, was {str(answer)[:200]!r}")
        problems = [str(problem) for problem in answer.get("error", [])]
        if not problems:
            result: dict[str, Any] = answer["result"]
            return result
        text = "; ".join(problems)
        if any("Unknown asset pair" in problem for problem in problems):
            raise UnknownSymbol(f"Kraken answers: {text}")
        if any("Permission" in problem or "Invalid key" in problem for problem in problems):
            raise Unauthorised(f"Kraken answers: {text}")
        raise errors.VendorFailed(f"Kraken answers: {text}", retry_after_s=5.0)

    # Live.

    async def endpoint(self) -> str:
        """Return where the WebSocket is."""
        return self.websocket_url

    def reset(self) -> None:
        """Forget the books of the former connection."""
        self._books.clear()

    def subscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Mapping[str, Any]]:
        """Return one subscription for each channel and set of symbols."""
        yield from self._requests("subscribe", symbols)

    def unsubscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Mapping[str, Any]]:
        """Return the same with the method turned round."""
        yield from self._requests("unsubscribe", symbols)

    def _requests(self, method: str, symbols: Sequence[LiveSymbol]) -> Iterator[dict[str, Any]]:
        trades = [one.symbol for one in symbols if one.trades]
        quotes = [one.symbol for one in symbols if one.quotes]
        tops = [one.symbol for one in symbols if one.book_top]
        if trades:
            yield {"method": method, "params": {"channel": "trade", "symbol": trades, "snapshot": False}}
        if quotes:
            params = {"channel": "ticker", "symbol": quotes, "event_trigger": "bbo", "snapshot": True}
            yield {"method": method, "params": params}
        if tops:
            params = {"channel": "book", "symbol": tops, "depth": self.book_depth, "snapshot": True}
            yield {"method": method, "params": params}
        for code in sorted({code for one in symbols for code in one.intervals if code in MINUTES}):
            wanted = [one.symbol for one in symbols if code in one.intervals]
            params = {"channel": "ohlc", "symbol": wanted, "interval": MINUTES[code], "snapshot": True}
            yield {"method": method, "params": params}

    def decode(self, raw: str | bytes) -> Any:
        """Read a message; numbers of books keep their digits, which their checksum is made of."""
        return json.loads(raw, parse_float=Decimal)

    def parse(self, message: Any) -> Iterable[LiveItem]:
        """Return what a message holds."""
        if message.get("method") in ("subscribe", "unsubscribe"):
            yield _acknowledgement(message)
            return
        match message.get("channel"):
            case "trade":
                yield from (item for row in message["data"] for item in live_trade(row))
            case "ohlc":
                yield from (item for row in message["data"] for item in live_bar(row))
            case "ticker":
                yield from (
                    item for row in message["data"] for item in live_quote(row, message["type"], self.clock.time_ns())
                )
            case "book":
                yield from (item for row in message["data"] for item in self._book(row, message["type"]))
            case _:
                return  # status, heartbeat, pong

    def _book(self, row: Mapping[str, Any], kind: str) -> Iterator[LiveItem]:
        symbol = str(row["symbol"])
        if kind == "snapshot":
            self._books[symbol] = Book(self.book_depth)
        book = self._books.get(symbol)
        if book is None:
            return
        before = book.top()
        try:
            book.apply(row)
        except ChecksumFailed as failed:
            del self._books[symbol]
            yield SymbolNotice(symbol, SymbolState.CHECKSUM_FAILED, str(failed))
            yield GapNotice(symbol, cause=GapCause.SEQUENCE_BROKEN, detail=str(failed))
            return
        if (top := book.top()) != before or kind == "snapshot":
            time_ns = nanoseconds(row["timestamp"]) if "timestamp" in row else self.clock.time_ns()
            bid, bid_size, ask, ask_size = top
            flags = TickFlag.SNAPSHOT if kind == "snapshot" else TickFlag.NONE
            yield (
                symbol,
                Tick(
                    time_ns,
                    TickKind.BOOK_TOP,
                    bid_price=bid,
                    bid_size=bid_size,
                    ask_price=ask,
                    ask_size=ask_size,
                    flags=flags,
                ),
            )


# Parsing: pure, tested with recordings.


def v2_symbol(wsname: str) -> str:
    """Return the name that WebSocket v2 uses for the `wsname` of AssetPairs."""
    base, slash, quote = wsname.partition("/")
    return f"{_RENAMED.get(base, base)}{slash}{_RENAMED.get(quote, quote)}"


def parse_ohlc(
    rows: Iterable[Sequence[Any]], interval: Interval, now_ns: int
) -> Iterator[Bar | EmptyRange | RejectedRow]:
    """Read rows of REST OHLC: time, open, high, low, close, vwap, volume, count.

    A row without trades repeats the last close; it is told as a stretch without trades and not as a bar. The bar in
    progress, which ends each answer, has the state `FORMING`.
    """
    for row in rows:
        try:
            start = int(row[0]) * _SECOND_NS
            opened, high, low, close, vwap, volume = (float(value) for value in row[1:7])
            count = int(row[7])
        except (TypeError, ValueError, IndexError) as error:
            yield RejectedRow(f"an OHLC row must hold eight numbers: {error}", {"row": list(row)})
            continue
        end = interval.next_boundary_ns(start)
        forming = end > now_ns
        if count == 0 and volume == 0:
            if not forming:
                yield EmptyRange(start, end, no_trade=True)
            continue
        state = BarState.FORMING if forming else BarState.CLOSED
        yield Bar(
            start,
            opened,
            high,
            low,
            close,
            volume,
            close_time_ns=end,
            trade_count=count,
            vwap=vwap or None,
            state=state,
        )


def parse_rest_trades(rows: Iterable[Sequence[Any]]) -> Iterator[Tick | RejectedRow]:
    """Read rows of REST Trades: price, volume, time in seconds, side, type, misc, trade id."""
    for row in rows:
        try:
            seconds = Decimal(str(row[2]))
            yield Tick(
                int(seconds * _SECOND_NS),
                price=float(row[0]),
                size=float(row[1]),
                side=Side.BUY if row[3] == "b" else Side.SELL,
                trade_id=int(row[6]) if len(row) > 6 else None,
            )
        except (TypeError, ValueError, IndexError, InvalidOperation) as error:
            yield RejectedRow(f"a trade must hold price, volume and time: {error}", {"row": list(row)})


def _acknowledgement(message: Mapping[str, Any]) -> SymbolNotice:
    done = SymbolState.SUBSCRIBED if message["method"] == "subscribe" else SymbolState.UNSUBSCRIBED
    if message.get("success"):
        result = message.get("result", {})
        return SymbolNotice(str(result.get("symbol", "")), done)
    return SymbolNotice(str(message.get("symbol", "")), SymbolState.REFUSED, str(message.get("error", "refused")))


def _rows(answer: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the rows of an answer, which stand under the vendor's own name of the pair, beside `last`."""
    return next((list(rows) for key, rows in answer.items() if key != "last"), [])


def _time_of(item: Bar | RejectedRow) -> int:
    return item.open_time_ns if isinstance(item, Bar) else item.time_ns


def _decimal(value: object) -> Decimal | None:
    try:
        return Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None


def _step(decimals: object) -> Decimal | None:
    return Decimal(1).scaleb(-decimals) if isinstance(decimals, int) else None
