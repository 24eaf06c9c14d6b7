"""Checks a provider end to end, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from quasar.clock import Clock
from quasar.errors import QuasarError
from quasar.model.instants import from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.plugins.permits import Lane
from quasar.rpc.wellknown import duration
from quasar.sdk.requests import BarRequest
from quasar_proto.datahub.v1 import provider_pb2 as pb

_STEP_S = 20.0
_SLOTS = 10


class Probe:
    """One probe of one provider."""

    def __init__(self, entry: ProviderEntry, runtime: ProviderRuntime, clock: Clock) -> None:
        """Probe `entry`."""
        self._entry = entry
        self._runtime = runtime
        self._clock = clock
        self._symbol = ""
        self._steps: list[pb.ProbeStep] = []

    async def run(self, symbol: str, interval: str) -> list[pb.ProbeStep]:
        """Try what the provider can do; a step that fails is told and does not raise.

        Args:
            symbol: What to ask for; empty: the first that the provider lists.
            interval: At which interval; empty: the finest.
        """
        self._symbol = symbol
        code = Interval.parse(interval).code if interval else next(iter(self._entry.manifest.intervals), "")
        running = await self._step("configure", self._configure)
        await self._step("symbols", self._symbols, possible=running and self._entry.can("SYMBOLS"))
        bars = running and self._entry.can("HISTORICAL") and bool(self._symbol) and bool(code)
        await self._step(f"bars {self._symbol} {code}".strip(), lambda: self._bars(code), possible=bars)
        index = running and self._entry.can("INDEX")
        await self._step("constituents", self._constituents, possible=index)
        return self._steps

    async def _step(self, name: str, work: Callable[[], Awaitable[str]], *, possible: bool = True) -> bool:
        step = pb.ProbeStep(name=name, outcome=pb.PROBE_OUTCOME_SKIPPED)
        self._steps.append(step)
        if not possible:
            step.detail = "not tried: the provider cannot do it, or a step before failed"
            return False
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(_STEP_S):
                step.detail = await work()
            step.outcome = pb.PROBE_OUTCOME_PASSED
        except QuasarError as error:
            step.outcome, step.detail = pb.PROBE_OUTCOME_FAILED, error.message
        except TimeoutError:
            step.outcome, step.detail = pb.PROBE_OUTCOME_FAILED, f"no answer within {_STEP_S:g} seconds"
        step.elapsed.CopyFrom(duration(self._clock.monotonic() - began) or step.elapsed)
        return step.outcome == pb.PROBE_OUTCOME_PASSED

    async def _configure(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        view = self._runtime.process(self._entry.name)
        return f"process {view.pid if view else 0} runs {handle.manifest.class_name or self._entry.name}"

    async def _symbols(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        async with aclosing(handle.list_symbols(lane=Lane.INTERACTIVE)) as pages:
            async for page in pages:
                self._symbol = self._symbol or (page[0].symbol if page else "")
                return f"{len(page)} symbols in the first page"
        return "it knows no symbols"

    async def _bars(self, code: str) -> str:
        interval = Interval.parse(code)
        end = interval.floor_ns(to_ns(self._clock.now() - self._entry.delay))
        length = interval.length_ns or 31 * 86_400 * 10**9
        request = BarRequest(self._symbol, code, end - _SLOTS * length, end)
        handle = await self._runtime.handle(self._entry.name)
        count, last = 0, 0
        async with aclosing(handle.fetch_bars([request], lane=Lane.INTERACTIVE)) as batches:
            async for batch in batches:
                if batch.error is not None:
                    raise batch.error
                if batch.columns is not None and len(batch.columns):
                    count += len(batch.columns)
                    last = max(last, int(batch.columns.open_time_ns.max()))
        return f"{count} bars, last {from_ns(last).isoformat()}" if count else "no bar in the last slots"

    async def _constituents(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        return f"{len(await handle.constituents())} constituents"
