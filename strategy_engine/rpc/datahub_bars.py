"""Stored bars, read from the DataHub as columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from quasar.client.channel import Channel
from quasar.convert.columns import decode_bars
from quasar.convert.plugin_batches import taken_apart
from quasar.errors import NotFound
from quasar.model.bars import BarColumns
from quasar.rpc.errors import code_of, from_status
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from strategy_engine.backtests.records import LoadedSeries, ReadTerms, SeriesFacts, WantedSeries
from strategy_engine.rpc.universe_messages import facts_of, reference

_METHOD: Final = "quasar.datahub.v1.MarketDataService/ReadBars"
_BARS: Final = 2
_BATCH_ROWS: Final = 65_536


class DatahubBars:
    """Implements `strategy_engine.backtests.records.BarReader` over `MarketDataService.ReadBars`."""

    def __init__(self, channel: Channel) -> None:
        """Read through `channel`."""
        self._channel = channel

    async def read(self, wanted: Sequence[WantedSeries], terms: ReadTerms) -> list[LoadedSeries]:
        """Return each series with its bars; see `BarReader.read`."""
        return await self._read(wanted, _request(wanted, terms))

    async def newest(self, wanted: Sequence[WantedSeries], count: int) -> list[LoadedSeries]:
        """Return the newest closed bars of each series, oldest first, `count` at most."""
        request = _request(wanted, ReadTerms())
        request.last_count = count
        return await self._read(wanted, request)

    async def _read(self, wanted: Sequence[WantedSeries], request: pb.ReadBarsRequest) -> list[LoadedSeries]:
        reading = _Reading(wanted)
        stream = self._channel.stream(_METHOD, request, pb.ReadBarsRequest.SerializeToString, bytes)
        async with aclosing(stream) as messages:
            async for data in messages:
                reading.take(data)
        return reading.finish()


def _request(wanted: Sequence[WantedSeries], terms: ReadTerms) -> pb.ReadBarsRequest:
    request = pb.ReadBarsRequest(
        series=[reference(one) for one in wanted],
        adjustment=terms.adjustment,  # type: ignore[arg-type]  # enum values travel as plain integers
        batch_rows=_BATCH_ROWS,
    )
    _set(request.range.start if terms.start else None, terms.start)
    _set(request.range.end if terms.end else None, terms.end)
    _set(request.as_of if terms.as_of else None, terms.as_of)
    return request


def _set(field: Timestamp | None, time: dt.datetime | None) -> None:
    if field is not None and time is not None:
        field.FromDatetime(time)


class _Reading:
    """Puts the parts of an answer together."""

    def __init__(self, wanted: Sequence[WantedSeries]) -> None:
        self._wanted = wanted
        self._facts: dict[int, SeriesFacts] = {}
        self._parts: dict[int, list[BarColumns]] = {}
        self._ids: dict[int, int] = {}

    def take(self, data: bytes) -> None:
        chunks, rest = taken_apart(data, (_BARS,))
        answer = pb.ReadBarsResponse.FromString(rest)
        for info in answer.series:
            self._facts[info.series_id] = facts_of(info)
        for view in chunks[_BARS]:
            chunk = decode_bars(view)
            self._parts.setdefault(chunk.series_id, []).append(chunk.columns)
        for ended in answer.ended:
            if ended.HasField("error"):
                raise from_status(ended.error, code_of(NotFound()))
            self._ids[ended.index] = ended.series_id

    def finish(self) -> list[LoadedSeries]:
        """Return the series in the order of the request.

        Raises:
            NotFound: The answer ended without one of them.
        """
        found = []
        for index, wanted in enumerate(self._wanted):
            series_id = self._ids.get(index)
            if series_id is None or series_id not in self._facts:
                raise NotFound(f"The DataHub must have {wanted.provider} {wanted.symbol} {wanted.interval}, was none.")
            parts = self._parts.get(series_id)
            bars = BarColumns.concatenate(parts) if parts else BarColumns.empty()
            found.append(LoadedSeries(wanted, self._facts[series_id], bars))
        return found
