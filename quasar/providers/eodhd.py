"""EODHD: daily, weekly, monthly and intraday history, and the symbols of any exchange.

Source: eodhd.com/financial-apis. Traps that the code minds: the closing 5-minute bar has `"volume": null`; a refusal is
bare text and not JSON; US symbols end in `.US` whatever the exchange; intraday is served in limited stretches; the week
and the month in progress are answered as if they were over, and so is the day where trading never ends.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from quasar import errors
from quasar.model.instants import day_ns
from quasar.model.intervals import Interval
from quasar.provider import (
    Bar,
    BarRequest,
    BarState,
    HistoryItem,
    HttpOptions,
    Instrument,
    Preference,
    Provider,
    RejectedRow,
    Secret,
    UnknownSymbol,
    Unsupported,
)

PERIODS: Final = {"1d": "d", "1w": "w", "1M": "m"}
INTRADAY: Final = {"1min": "1m", "5min": "5m", "1h": "1h"}
# EODHD's own exchange codes; everything traded in the US has the suffix US.
_MIC_OF_EXCHANGE: Final = {
    "NASDAQ": "XNAS",
    "NYSE": "XNYS",
    "NYSE ARCA": "ARCX",
    "NYSE MKT": "XASE",
    "BATS": "BATS",
    "AMEX": "XASE",
    "LSE": "XLON",
    "XETRA": "XETR",
    "PA": "XPAR",
    "AS": "XAMS",
    "MI": "XMIL",
    "SW": "XSWX",
    "TO": "XTSE",
    "AU": "XASX",
    "TSE": "XTKS",
    "HK": "XHKG",
    "KO": "XKRX",
    "SHG": "XSHG",
    "SHE": "XSHE",
    "FOREX": "XFX",
}
_US: Final = frozenset(
    {"NASDAQ", "NYSE", "NYSE ARCA", "NYSE MKT", "BATS", "AMEX", "PINK", "OTCQB", "OTCQX", "OTC", "US"}
)
_LISTING_OF_MIC: Final = {mic: "US" if code in _US else code for code, mic in _MIC_OF_EXCHANGE.items()}
_NEVER_CLOSED: Final = (".CC", ".FOREX")
_CLASS_OF_TYPE: Final = {
    "common stock": "equity",
    "preferred stock": "preferred",
    "fund": "fund",
    "mutual fund": "mutual_fund",
    "etf": "etf",
    "etc": "etf",
    "bond": "bond",
    "currency": "currency",
    "index": "index",
}
_SECOND_NS: Final = 1_000_000_000
_DAY: Final = Interval.parse("1d")
_EVER: Final = 1 << 62
_INTRADAY_STRETCH_NS: Final = 100 * 86_400 * _SECOND_NS


class Eodhd(Provider):
    """End-of-day and intraday history of stocks, funds, currencies and crypto assets of the world."""

    name = "eodhd"
    version = "1"
    intervals = (*INTRADAY, *PERIODS)
    rate_limit = (1000, 60.0)
    concurrency = 5
    hosts = ("eodhd.com",)
    secrets = (Secret("api_token", "The API token of the EODHD account."),)
    publication_delay = dt.timedelta(hours=3)
    http_options = HttpOptions(timeout_s=60.0)

    base_url = Preference("https://eodhd.com", description="Where the interface is.", needs_restart=True)
    prices = Preference(
        "raw",
        choices=("raw", "adjusted"),
        description="Prices of daily bars and longer: as traded, with the adjusted close beside them, or adjusted for "
        "splits and dividends; those of the past then change with each dividend.",
    )
    exchanges = Preference(
        "US,CC,FOREX", description="EODHD's codes of the exchanges whose symbols are listed, separated by commas."
    )

    async def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield the bars of a symbol, prices as traded; `adjusted_close` beside them for daily bars and longer."""
        if request.interval in PERIODS:
            async for item in self._dated(request):
                yield item
        elif request.interval in INTRADAY:
            async for item in self._intraday(request):
                yield item
        else:
            raise Unsupported(f"interval must be one of {', '.join(self.intervals)}, was {request.interval!r}")

    async def symbols(self, exchange: str = "") -> AsyncIterator[Instrument | RejectedRow]:
        """Yield the symbols of the exchanges of the preferences, or of one."""
        mic = exchange if exchange in _LISTING_OF_MIC else ""
        one = _LISTING_OF_MIC.get(exchange, exchange)
        codes = [one] if one else [code.strip() for code in self.exchanges.split(",") if code.strip()]
        for code in codes:
            for row in await self._get(f"exchange-symbol-list/{code}", {}, code):
                item = self.listed(row, code)
                if item is not None and (not mic or isinstance(item, RejectedRow) or item.exchange == mic):
                    yield item

    async def _dated(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        # Bars are dated; the day before catches a week or month that began before the range.
        last = (request.end - dt.timedelta(microseconds=1)).date()
        params = {"from": request.start.date().isoformat(), "to": last.isoformat(), "period": PERIODS[request.interval]}
        rows = await self._get(f"eod/{request.symbol}", params, request.symbol)
        ends_daily = not request.symbol.endswith(_NEVER_CLOSED)
        for item in parse_dated(rows, request.length, self.clock.time_ns(), ends_daily=ends_daily):
            if isinstance(item, Bar) and self.prices == "adjusted":
                item = adjusted(item)
            if isinstance(item, RejectedRow) or request.start_ns <= item.open_time_ns < request.end_ns:
                yield item

    async def _intraday(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        at = request.start_ns
        while at < request.end_ns:
            stop = min(request.end_ns, at + _INTRADAY_STRETCH_NS)
            span: dict[str, str | int] = {"from": at // _SECOND_NS, "to": stop // _SECOND_NS}
            params = {"interval": INTRADAY[request.interval], **span}
            rows = await self._get(f"intraday/{request.symbol}", params, request.symbol)
            for item in parse_intraday(rows, request, self.clock.time_ns()):
                if isinstance(item, RejectedRow) or at <= item.open_time_ns < stop:
                    yield item
            at = stop

    async def _get(self, path: str, params: Mapping[str, str | int], subject: str) -> list[Mapping[str, Any]]:
        terms = {"api_token": self.secret("api_token"), "fmt": "json", **params}
        try:
            rows = await self.http.json(f"{self.base_url}/api/{path}", terms)
        except errors.NotFound as error:
            raise UnknownSymbol(
                f"EODHD knows no {subject!r}; symbols are written AAPL.US, BHP.AU, BTC-USD.CC"
            ) from error
        if not isinstance(rows, list):
            raise errors.VendorFailed(f"EODHD must answer with a list, was {json.dumps(rows)[:200]}")
        return rows

    def listed(self, row: Mapping[str, Any], listing: str) -> Instrument | RejectedRow | None:
        """Read a row of `exchange-symbol-list`; None for kinds that are not collected (warrants, rights, units)."""
        kind = _CLASS_OF_TYPE.get(str(row.get("Type") or "").lower())
        if listing == "CC":
            kind = "crypto"
        if kind is None:
            return None
        code, exchange = str(row.get("Code") or ""), str(row.get("Exchange") or "")
        suffix = "US" if exchange in _US else exchange or listing
        base, quote = _currencies(code, kind)
        try:
            return self.instrument(
                f"{code}.{suffix}",
                asset_class=kind,
                name=str(row.get("Name") or ""),
                exchange=_MIC_OF_EXCHANGE.get(exchange, ""),
                base_currency=base,
                quote_currency=quote or str(row.get("Currency") or ""),
                external_id=code,
                primary_id=str(row.get("Isin") or ""),
                matcher_symbol=base if kind == "crypto" else code,
            )
        except errors.InvalidArgument as error:
            return RejectedRow(error.message, dict(row), symbol=code)


def _currencies(code: str, kind: str) -> tuple[str, str]:
    """Return base and quote: `BTC-USD` of a crypto asset, `EURUSD` of a currency pair."""
    if kind == "crypto":
        base, _, quote = code.rpartition("-")
        return base, quote
    if kind == "currency" and len(code) == 6:
        return code[:3], code[3:]
    return "", ""


def parse_dated(
    rows: Iterable[Mapping[str, Any]], length: Interval = _DAY, now_ns: int = _EVER, *, ends_daily: bool = True
) -> Iterator[Bar | RejectedRow]:
    """Read rows of `eod`: a date and prices.

    Args:
        rows: As they came.
        length: A day, a week or a month; the bar is keyed by its first day, 00:00 UTC, whatever day the row names.
        now_ns: A week or month that is not over then is forming.
        ends_daily: The market closes within the day, so that the bar of today is over once it is there.
    """
    for row in rows:
        try:
            start = length.floor_ns(day_ns(dt.date.fromisoformat(str(row["date"]))))
        except (KeyError, ValueError) as error:
            yield RejectedRow(f"date must be YYYY-MM-DD: {error}", dict(row))
            continue
        over = (length == _DAY and ends_daily) or length.next_boundary_ns(start) <= now_ns
        yield _bar(row, start, BarState.CLOSED if over else BarState.FORMING)


def adjusted(bar: Bar) -> Bar:
    """Return the bar with its prices adjusted as its close was; without an adjusted close as it is."""
    if bar.adjusted_close is None or not bar.close:
        return bar
    factor = bar.adjusted_close / bar.close
    return replace(bar, open=bar.open * factor, high=bar.high * factor, low=bar.low * factor, close=bar.adjusted_close)


def parse_intraday(rows: Iterable[Mapping[str, Any]], request: BarRequest, now_ns: int) -> Iterator[Bar | RejectedRow]:
    """Read rows of `intraday`: the second at which the bar opens, and prices."""
    for row in rows:
        try:
            start = int(row["timestamp"]) * _SECOND_NS
        except (KeyError, TypeError, ValueError) as error:
            yield RejectedRow(f"timestamp must be seconds since 1970: {error}", dict(row))
            continue
        forming = request.length.next_boundary_ns(start) > now_ns
        yield _bar(row, start, BarState.FORMING if forming else BarState.CLOSED)


def _bar(row: Mapping[str, Any], start_ns: int, state: BarState = BarState.CLOSED) -> Bar | RejectedRow:
    prices: Sequence[Any] = [row.get(name) for name in ("open", "high", "low", "close")]
    if any(not isinstance(price, int | float) or isinstance(price, bool) for price in prices):
        return RejectedRow("open, high, low and close must be numbers", dict(row), start_ns)
    opened, high, low, close = (float(price) for price in prices)
    volume, adjusted = row.get("volume"), row.get("adjusted_close")
    return Bar(
        start_ns,
        opened,
        high,
        low,
        close,
        None if volume is None else float(volume),
        adjusted_close=None if adjusted is None else float(adjusted),
        state=state,
    )
