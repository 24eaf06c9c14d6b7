"""A running provider as its service sees it. It outlives the process: restarts and swaps happen underneath."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

from quasar import errors
from quasar.clock import Clock
from quasar.convert.plugin_rows import constituent_from_proto, instrument_from_proto, rejected_from_proto
from quasar.plugins import fetching
from quasar.plugins.batches import BarBatch, LiveBatch, Members, SymbolPage, TickBatch
from quasar.plugins.charging import charged
from quasar.plugins.errands import Errands
from quasar.plugins.keeper import Keeper
from quasar.plugins.manifest import Manifest
from quasar.plugins.permits import Budget, Lane, Usage
from quasar.plugins.process import PluginProcess
from quasar.plugins.relay import Relay
from quasar.sdk.jitter import FullJitter
from quasar.sdk.requests import BarRequest, LiveSymbol, TickRequest
from quasar_proto.plugin.v1 import provider_pb2

__all__ = ["BarRequest", "LiveSymbol", "ProviderHandle", "TickRequest"]

_PATH: Final = "/quasar.plugin.v1.ProviderPlugin/"
_MOST_RANGES: Final = 1_000
_STALL_S: Final = 120.0
_FAILURES: Final = (errors.Unavailable, errors.PluginFailed, errors.DeadlineExceeded)
"""What says that the plug-in or its vendor does not work; other errors say that a question was wrong."""


class ProviderHandle:
    """One provider."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        """See the plug-in that `keeper` keeps."""
        self.keeper = keeper
        self._clock = clock
        self._live: dict[int, Relay] = {}

    @property
    def manifest(self) -> Manifest:
        """What the class declares.

        Raises:
            PluginUnavailable: It does not run.
        """
        process = self.keeper.process
        if process is None or process.manifest is None:
            raise errors.PluginUnavailable(f"{self.keeper.code.name} does not run: {self.keeper.last_exit}")
        return process.manifest

    @property
    def budget(self) -> Budget:
        """What is left of its rate limits."""
        return self.keeper.desk.budget()

    async def fetch_bars(
        self,
        requests: Sequence[BarRequest],
        *,
        lane: Lane = Lane.SCHEDULED,
        stall_s: float = _STALL_S,
        usage: Usage | None = None,
    ) -> AsyncGenerator[BarBatch, None]:
        """Yield bars as they come, and one last batch (`done`) for each request. One bad symbol never ends the others.

        Args:
            requests: What is wanted; batches name them by their index.
            lane: What the calls to the vendor are for.
            stall_s: Give up when nothing comes for so long.
            usage: Is kept up to date with the calls to the vendor and how long they waited for permits.
        """
        ranges = [
            provider_pb2.BarRange(
                series_id=index + 1,
                symbol=one.symbol,
                interval=one.interval,
                start_time_ns=one.start_ns,
                end_time_ns=one.end_ns,
                provider_id=one.provider_id,
                exchange=one.exchange,
            )
            for index, one in enumerate(requests)
        ]
        counted = usage if usage is not None else Usage()
        async with aclosing(
            self._fetch(fetching.BARS, provider_pb2.FetchBarsRequest, ranges, lane, stall_s, counted)
        ) as found:
            async for batch in found:
                yield batch

    async def fetch_ticks(
        self, requests: Sequence[TickRequest], *, lane: Lane = Lane.LIVE, stall_s: float = _STALL_S
    ) -> AsyncGenerator[TickBatch, None]:
        """Yield ticks of the past under the rules of `fetch_bars`."""
        ranges = [
            provider_pb2.TickRange(
                series_id=index + 1,
                symbol=one.symbol,
                kinds=[int(kind) for kind in one.kinds],  # type: ignore[misc]  # numbered as in the contract
                start_time_ns=one.start_ns,
                end_time_ns=one.end_ns,
                provider_id=one.provider_id,
                after_trade_id=-1 if one.after_trade_id is None else one.after_trade_id,
            )
            for index, one in enumerate(requests)
        ]
        async with aclosing(
            self._fetch(fetching.TICKS, provider_pb2.FetchTicksRequest, ranges, lane, stall_s, Usage())
        ) as found:
            async for batch in found:
                yield batch

    async def _fetch(
        self, form: fetching.Form, message: Any, ranges: Sequence[Any], lane: Lane, stall_s: float, usage: Usage
    ) -> AsyncGenerator[Any, None]:
        try:
            process = await self.keeper.ready()
        except errors.PluginUnavailable as error:
            for one in ranges:
                yield form.batch(one.series_id - 1, error=error, done=True)
            return
        with self._work(lane, usage) as work_id:
            if process.host_charges:
                calls = self._one_by_one(process, form, message, ranges, work_id, lane, stall_s, usage)
            else:
                calls = self._all_at_once(process, form, message, ranges, work_id, stall_s)
            async with aclosing(calls) as found:
                async for batch in found:
                    self._noted(batch.error)
                    yield batch

    def _noted(self, error: errors.QuasarError | None) -> None:
        if isinstance(error, _FAILURES):
            self.keeper.failed(error)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Remember a failure in the block."""
        try:
            yield
        except errors.QuasarError as error:
            self._noted(error)
            raise

    async def _all_at_once(
        self,
        process: PluginProcess,
        form: fetching.Form,
        message: Any,
        ranges: Sequence[Any],
        work_id: str,
        stall_s: float,
    ) -> AsyncGenerator[Any, None]:
        for start in range(0, len(ranges), _MOST_RANGES):
            part = ranges[start : start + _MOST_RANGES]
            request = message(work_id=work_id, ranges=part)
            indices = {one.series_id: one.series_id - 1 for one in part}
            async with aclosing(fetching.answers(process, form, request, indices, stall_s)) as found:
                async for batch in found:
                    yield batch

    async def _one_by_one(
        self,
        process: PluginProcess,
        form: fetching.Form,
        message: Any,
        ranges: Sequence[Any],
        work_id: str,
        lane: Lane,
        stall_s: float,
        usage: Usage,
    ) -> AsyncGenerator[Any, None]:
        """Take a permit for each symbol before it is passed on; for code that does not ask for them itself."""
        queue: asyncio.Queue[Any] = asyncio.Queue(64)

        async def one(wanted: Any) -> None:
            grant = await self.keeper.desk.acquire(lane=lane, usage=usage)
            retry_after_s = None
            try:
                request = message(work_id=f"{work_id}-{wanted.series_id}", ranges=[wanted])
                indices = {wanted.series_id: wanted.series_id - 1}
                async for batch in fetching.answers(process, form, request, indices, stall_s):
                    retry_after_s = batch.error.retry_after_s if batch.error else None
                    if batch.done:
                        batch.tally.calls = max(batch.tally.calls, grant.calls)
                        batch.tally.waited_s += grant.waited_s
                    await queue.put(batch)
            finally:
                self.keeper.desk.release(grant.grant_id, 1, retry_after_s)

        async with Errands() as errands:
            for wanted in ranges:
                errands.add(one(wanted))
            waiting = len(ranges)
            while waiting:
                batch = await queue.get()
                waiting -= batch.done
                yield batch

    @contextmanager
    def _work(self, lane: Lane, usage: Usage | None = None) -> Iterator[str]:
        work_id = uuid.uuid4().hex
        self.keeper.desk.works[work_id] = lane
        if usage is not None:
            self.keeper.desk.usages[work_id] = usage
        try:
            yield work_id
        finally:
            del self.keeper.desk.works[work_id]
            self.keeper.desk.usages.pop(work_id, None)

    async def stream_live(
        self,
        symbols: Sequence[LiveSymbol],
        *,
        series_ids: Mapping[tuple[str, str], int] | None = None,
        flush_s: float = 0.02,
        number: int = 0,
    ) -> AsyncGenerator[LiveBatch, None]:
        """Yield live data until closed. The stream survives restarts and swaps; what happens is told in notices.

        Args:
            symbols: What is wanted; may be empty, to be added later with `update_live`.
            series_ids: Ids to put on chunks, by (symbol, interval), ticks under ""; absent ones are made up.
            flush_s: How long rows are gathered at most before they are sent.
            number: Tells streams apart where one connection of the vendor does not carry all symbols.

        Raises:
            Unauthorised: The vendor refused the credentials.
            Unimplemented: The provider has no live data.
            PluginUnavailable: The process does not come back.
        """
        relay = Relay(self.keeper, self._clock, FullJitter(random.random), flush_s)
        relay.subscribe(symbols, series_ids)
        self.keeper.relays.add(relay)
        self._live[number] = relay
        try:
            async with aclosing(relay.batches()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self.keeper.relays.discard(relay)
            if self._live.get(number) is relay:
                del self._live[number]

    async def update_live(
        self,
        add: Sequence[LiveSymbol] = (),
        remove: Sequence[str] = (),
        *,
        series_ids: Mapping[tuple[str, str], int] | None = None,
        number: int = 0,
    ) -> None:
        """Add and remove symbols of the live stream of a number, without a break for the others.

        Raises:
            NotFound: No such live stream is open.
        """
        await self._need_live(number).update(add, remove, series_ids)

    async def resync_live(self, symbols: Sequence[str] = (), *, number: int = 0) -> None:
        """Ask for new snapshots of symbols, or without symbols for a new connection.

        Raises:
            NotFound: No such live stream is open.
        """
        await self._need_live(number).resync(symbols)

    def _need_live(self, number: int) -> Relay:
        relay = self._live.get(number)
        if relay is None:
            raise errors.NotFound(f"{self.keeper.code.name} has no live stream")
        return relay

    async def list_symbols(
        self, exchange: str = "", *, lane: Lane = Lane.BULK, usage: Usage | None = None
    ) -> AsyncGenerator[SymbolPage, None]:
        """Yield the symbols that the vendor knows, in pages, with the rows that are none.

        Args:
            exchange: Only those of this exchange, a MIC or the vendor's own code; empty: all.
            lane: What the calls to the vendor are for.
            usage: Is kept up to date with the calls to the vendor and how long they waited for permits.

        Raises:
            QuasarError: The provider or its vendor failed, or it cannot list symbols.
        """
        process = await self.keeper.ready()
        serialise: Any = provider_pb2.ListSymbolsRequest.SerializeToString
        with self._work(lane, usage) as work_id, self._noting():
            async with charged(process, lane, usage):
                request = provider_pb2.ListSymbolsRequest(work_id=work_id, exchange=exchange)
                call: Any = process.channel.unary_stream(
                    f"{_PATH}ListSymbols", serialise, provider_pb2.ListSymbolsResponse.FromString
                )(request)
                async with aclosing(process.messages(call)) as pages:
                    async for page in pages:
                        with process.reading("symbols"):
                            found = _symbol_page(page, process.code.name)
                        yield found

    async def constituents(
        self, index: str = "", as_of: dt.date | None = None, *, lane: Lane = Lane.INTERACTIVE
    ) -> Members:
        """Return the members of an index, now or on a date, with the rows that are none.

        Raises:
            QuasarError: The provider or its vendor failed, or it is no source of indices.
        """
        process = await self.keeper.ready()
        serialise: Any = provider_pb2.ListConstituentsRequest.SerializeToString
        call: Any = process.channel.unary_unary(
            f"{_PATH}ListConstituents", serialise, provider_pb2.ListConstituentsResponse.FromString
        )
        with self._work(lane) as work_id, self._noting():
            async with charged(process, lane):
                request = provider_pb2.ListConstituentsRequest(
                    work_id=work_id, index=index, as_of_date=as_of.isoformat() if as_of else ""
                )
                answer = await process.answer(call(request, timeout=_STALL_S))
        with process.reading("constituents"):
            return Members(
                tuple(constituent_from_proto(one) for one in answer.constituents),
                tuple(rejected_from_proto(row) for row in answer.rejected),
                answer.effective_date,
            )


def _symbol_page(page: provider_pb2.ListSymbolsResponse, provider: str) -> SymbolPage:
    return SymbolPage(
        tuple(instrument_from_proto(one, provider) for one in page.symbols),
        tuple(rejected_from_proto(row) for row in page.rejected),
        tuple(page.symbols),
        page.total if page.HasField("total") else None,
    )
