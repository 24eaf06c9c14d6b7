"""Universes: from the message to the series that are wanted, and the series that were found as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quasar.convert.manifest import asset_class_from_proto, asset_class_to_proto
from quasar.errors import FieldViolation, InvalidArgument, QuotaExceeded, Unimplemented
from quasar.model.asset_classes import parse_asset_class
from quasar.model.intervals import Interval
from quasar.rpc.wellknown import timestamp_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.strategy.v1 import universe_pb2
from strategy_engine.backtests.records import LoadedSeries, SeriesFacts, WantedSeries
from strategy_engine.rpc.values import message_of

_MOST_SERIES = 5_000


def wanted_series(universe: universe_pb2.Universe) -> list[WantedSeries]:
    """Return the series that a universe names, each once.

    Raises:
        InvalidArgument: An interval cannot be read, or nothing is left.
        QuotaExceeded: There are more series than the universe allows.
        Unimplemented: A selector names an index or a filter.
    """
    found: dict[tuple[str, str, str], WantedSeries] = {}
    for index, selector in enumerate(universe.selectors):
        one = _wanted(selector, f"universe.selectors[{index}]")
        if one.symbol not in universe.exclude_symbols:
            found.setdefault((one.provider, one.symbol, one.interval), one)
    most = universe.max_series or _MOST_SERIES
    if len(found) > most:
        raise QuotaExceeded(f"The universe must hold at most {most} series, was {len(found)}.")
    if not found:
        raise _violation("universe.selectors", "must leave at least one series, was none")
    return list(found.values())


def stored_universe(found: Mapping[str, Any]) -> list[WantedSeries]:
    """Return the series that a stored universe names."""
    return wanted_series(message_of(found, universe_pb2.Universe))


def _wanted(selector: universe_pb2.SeriesSelector, place: str) -> WantedSeries:
    kind = selector.WhichOneof("selector")
    if kind not in ("series", "symbol"):
        raise Unimplemented(f"{place} must name a series or a symbol in this build, was {kind}.")
    named = selector.series if kind == "series" else selector.symbol
    return WantedSeries(
        symbol=named.symbol,
        interval=_interval(named.interval, f"{place}.{kind}.interval"),
        provider=named.provider,
        common=kind == "symbol",
        alias=selector.alias or "main",
        read_only=selector.read_only,
    )


def _interval(text: str, field: str) -> str:
    if not text:
        raise _violation(field, "must be an interval such as 1min or 1d, was empty")
    return Interval.parse(text, field).code


def _violation(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])


def reference(wanted: WantedSeries) -> market_data_pb2.SeriesReference:
    """Return how the DataHub is asked for a series."""
    if wanted.common:
        common = market_data_pb2.CommonSeries(
            common_symbol=wanted.symbol, interval=wanted.interval, provider=wanted.provider
        )
        return market_data_pb2.SeriesReference(common=common)
    key = values_pb2.SeriesKey(provider=wanted.provider, symbol=wanted.symbol, interval=wanted.interval)
    return market_data_pb2.SeriesReference(key=key)


def facts_of(info: market_data_pb2.SeriesInfo) -> SeriesFacts:
    """Return what the DataHub says of a series."""
    asset_class = asset_class_from_proto(info.asset_class)
    return SeriesFacts(
        provider=info.key.provider,
        symbol=info.key.symbol,
        interval=info.key.interval,
        common_symbol=info.common_symbol,
        exchange=info.exchange,
        asset_class=asset_class.value if asset_class else "",
        currency=info.quote_currency,
        calendar=info.calendar,
        price_decimals=info.price_decimals if info.HasField("price_decimals") else None,
        size_decimals=info.size_decimals if info.HasField("size_decimals") else None,
    )


def resolved_series(
    facts: SeriesFacts, *, alias: str = "main", read_only: bool = False, currency: str = ""
) -> universe_pb2.ResolvedSeries:
    """Return a series that was found as a message."""
    key = values_pb2.SeriesKey(provider=facts.provider, symbol=facts.symbol, interval=facts.interval)
    return universe_pb2.ResolvedSeries(
        series=key,
        symbol=facts.name,
        alias=alias,
        asset_class=asset_class_to_proto(parse_asset_class(facts.asset_class) if facts.asset_class else None),
        exchange=facts.exchange,
        calendar=facts.calendar,
        currency=facts.currency or currency,
        read_only=read_only,
    )


def loaded_message(loaded: LoadedSeries) -> universe_pb2.ResolvedSeries:
    """Return a series that was read, with what was read of it."""
    message = resolved_series(loaded.facts, alias=loaded.wanted.alias, read_only=loaded.wanted.read_only)
    message.bars = len(loaded.bars)
    if len(loaded.bars):
        message.first_bar_time.CopyFrom(timestamp_ns(int(loaded.bars.open_time_ns[0])))
        message.last_bar_time.CopyFrom(timestamp_ns(int(loaded.bars.open_time_ns[-1])))
    return message
