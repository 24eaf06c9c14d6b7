"""What a live stream brings, by the names that its reader asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quasar.convert.columns import decode_bars, decode_ticks
from quasar.model.bars import BarColumns
from quasar.model.series import SeriesKey
from quasar.model.ticks import TickColumns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import gap_pb2, market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

CONTENT_PREFIX: Final = "STREAM_CONTENT_"


@dataclass(frozen=True, slots=True)
class LiveGap:
    """A hole in what was streamed, or what became of it. The same hole is told again whenever its state changes."""

    gap_id: str
    symbol: str
    interval: str
    """Empty: ticks are missing."""
    start_time_ns: int
    end_time_ns: int | None
    """None: it still grows."""
    state: str
    """`OPEN`, `REPAIRING`, `REPAIRED` or `UNREPAIRABLE`."""
    cause: str
    """Why, for example `FEED_INTERRUPTED`."""
    evidence: str
    """Who was asked for the data and what they said, for people."""


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """Where one item of what a reader asked for stands; an item that is refused does not end the stream."""

    item: str
    """`provider:symbol`, or `provider:symbol@interval`."""
    content: str
    """What of it, by the names in `quasar.client.market_data.CONTENTS`."""
    state: str
    """`ACTIVE`, `PENDING` (the feed has not confirmed it), `REJECTED`, `PAUSED` or `REMOVED`."""
    message: str
    """Why, with the remedy; empty when there is nothing to say."""


@dataclass(frozen=True, slots=True)
class LiveData:
    """What one envelope of a live stream brought."""

    cursor: str
    """Opens a stream that goes on right after this envelope."""
    ticks: Mapping[str, TickColumns] = field(default_factory=dict)
    """Ticks by symbol, in order of arrival."""
    bars: Mapping[tuple[str, str], BarColumns] = field(default_factory=dict)
    """Bars by symbol and interval."""
    gaps: tuple[LiveGap, ...] = ()
    """Holes as soon as they are known, and their repair."""
    statuses: tuple[LiveStatus, ...] = ()
    """Where what was asked for stands: all of it at the start, then what changes."""


class LiveReader:
    """Reads the envelopes of one stream in their order: a series is named once and then called by its number."""

    def __init__(self) -> None:
        """Know no series yet."""
        self._known: dict[int, values_pb2.SeriesKey] = {}

    def read(self, envelope: pb.StreamMarketDataResponse) -> LiveData:
        """Return what the stream's next envelope brought."""
        self._known.update({info.series_id: info.key for info in envelope.series})
        return LiveData(
            envelope.cursor,
            self._ticks(envelope),
            self._bars(envelope),
            tuple(_gap(gap) for gap in envelope.gaps),
            tuple(self._status(status) for status in envelope.statuses),
        )

    def _ticks(self, envelope: pb.StreamMarketDataResponse) -> dict[str, TickColumns]:
        found: dict[str, list[TickColumns]] = {}
        for chunk in envelope.ticks:
            found.setdefault(self._known[chunk.series_id].symbol, []).append(tick_columns(chunk))
        return {symbol: TickColumns.concatenate(parts) for symbol, parts in found.items()}

    def _bars(self, envelope: pb.StreamMarketDataResponse) -> dict[tuple[str, str], BarColumns]:
        found: dict[tuple[str, str], list[BarColumns]] = {}
        for chunk in envelope.bars:
            key = self._known[chunk.series_id]
            found.setdefault((key.symbol, key.interval), []).append(bar_columns(chunk))
        return {key: BarColumns.concatenate(parts) for key, parts in found.items()}

    def _status(self, status: stream_pb2.SubscriptionStatus) -> LiveStatus:
        known = self._known.get(status.series_id)
        named = "" if known is None else f"{known.provider}:{known.symbol}" + (known.interval and f"@{known.interval}")
        return LiveStatus(
            status.requested or named,
            stream_pb2.StreamContent.Name(status.content).removeprefix(CONTENT_PREFIX).lower(),
            stream_pb2.SubscriptionStatusState.Name(status.state).removeprefix("SUBSCRIPTION_STATUS_STATE_"),
            status.message,
        )


def key_message(series: SeriesKey) -> values_pb2.SeriesKey:
    """Return a key as it travels."""
    return values_pb2.SeriesKey(provider=series.provider, symbol=series.symbol, interval=series.interval.code)


def bar_columns(chunk: market_data_pb2.BarChunk) -> BarColumns:
    """Return the bars of a chunk."""
    return decode_bars(chunk.SerializeToString()).columns


def tick_columns(chunk: market_data_pb2.TickChunk) -> TickColumns:
    """Return the ticks of a chunk."""
    return decode_ticks(chunk.SerializeToString()).columns


def _gap(gap: gap_pb2.Gap) -> LiveGap:
    return LiveGap(
        gap.gap_id,
        gap.key.symbol,
        gap.key.interval,
        gap.start_time_ns,
        gap.end_time_ns or None,
        gap_pb2.GapState.Name(gap.state).removeprefix("GAP_STATE_"),
        gap_pb2.GapCause.Name(gap.cause).removeprefix("GAP_CAUSE_"),
        gap.evidence,
    )
