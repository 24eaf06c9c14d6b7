"""Small requests of each sort to a vendor, made by code that is being validated and may use the network."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from quasar import errors
from quasar.clock import Clock
from quasar.model.bar_checks import Flaw, check_bars, describe
from quasar.model.instants import TimeRange
from quasar.model.intervals import Interval
from quasar.plugins.code import CodeVersion
from quasar.plugins.jail.spec import Limits
from quasar.plugins.permits import Lane
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.plugins.provider import ProviderHandle
from quasar.plugins.report import Finding, Severity
from quasar.sdk.failures import Unsupported
from quasar.sdk.notices import RejectedRow, SymbolNotice, SymbolState
from quasar.sdk.requests import BarRequest, LiveSymbol

_STEP_S: Final = 20.0
_LIVE_S: Final = 5.0
"""How long a live row is waited for; a market may be quiet."""
_SLOTS: Final = 10
_LONGEST_STEP_NS: Final = 31 * 86_400_000_000_000
_PLACE: Final = re.compile(r" at ([^ ]+):(\d+)$")
_RULES: Final = {
    Flaw.NOT_FINITE: "bar-not-finite",
    Flaw.HIGH_BELOW_LOW: "bar-high-below-low",
    Flaw.OUTSIDE_HIGH_LOW: "bar-outside-high-low",
    Flaw.NEGATIVE_VOLUME: "bar-negative-volume",
    Flaw.OUTSIDE_REQUEST: "bar-outside-request",
    Flaw.REPEATED: "bar-repeated",
    Flaw.CONFLICTING: "bar-conflicting",
    Flaw.NOT_ALIGNED: "bar-not-aligned",
}


async def ask_vendor(code: CodeVersion, folder: Path, limits: Limits, clock: Clock) -> list[Finding]:
    """Run a provider with its declared hosts open, ask it for a little of everything, and say what came of it.

    Args:
        code: What is validated.
        folder: Where its files may be kept.
        limits: What it may use.
        clock: Tells the time and waits.
    """
    settings = ProcessSettings(service="validation", hang_s=5.0, grace_s=0.5)
    opened = replace(code, ports=None)
    async with PluginPool(folder, settings=settings, clock=clock, limits=lambda _: limits) as pool:
        try:
            provider = await pool.provider(opened)
        except errors.QuasarError as error:
            return [_failure("start", error)]
        return await _Requests(provider, clock).run()


@dataclass(slots=True)
class _Requests:
    provider: ProviderHandle
    clock: Clock
    findings: list[Finding] = field(default_factory=list)
    symbol: str = ""

    async def run(self) -> list[Finding]:
        can = self.provider.manifest.capabilities
        if "SYMBOLS" in can:
            await self._step("symbols", self._symbols)
        if "INDEX" in can:
            await self._step("constituents", self._constituents)
        if not self.symbol and ("HISTORICAL" in can or "LIVE" in can):
            text = "neither bars nor live rows were asked for: the class lists no symbol to ask for"
            self._say(Severity.INFO, "trial-no-symbol", text, "override `symbols`, or try it with `quasar dev bars`")
            return self.findings
        if "HISTORICAL" in can and self.provider.manifest.intervals:
            await self._step("bars", self._bars)
        if "LIVE" in can:
            await self._step("live", self._live)
        return self.findings

    async def _step(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_STEP_S):
                await ask()
        except errors.QuasarError as error:
            self.findings.append(_failure(name, error))
        except TimeoutError:
            text = f"{name} brought nothing within {_STEP_S:g} s"
            self._say(Severity.WARNING, "trial-no-answer", text, "look at the log of the code, and at the vendor")

    def _say(self, severity: Severity, rule: str, message: str, remedy: str) -> None:
        self.findings.append(Finding(severity=severity, rule=rule, message=message, remedy=remedy))

    def _refused(self, what: str, rows: tuple[RejectedRow, ...]) -> None:
        if rows:
            text = f"{len(rows)} rows are no {what}, the first: {rows[0].detail}"
            self._say(Severity.WARNING, "trial-rejected-rows", text, "read them, or leave out what is not meant")

    async def _symbols(self) -> None:
        async with aclosing(self.provider.list_symbols(lane=Lane.INTERACTIVE)) as pages:
            async for page in pages:
                self._refused("symbol", page.rejected)
                if page:
                    self.symbol = page[0].symbol
                    return
        self._say(Severity.WARNING, "trial-nothing-listed", "symbols yielded nothing", "see what the vendor answers")

    async def _constituents(self) -> None:
        found = await self.provider.constituents()
        self._refused("member", found.rejected)
        if not found:
            self._say(Severity.WARNING, "trial-nothing-listed", "constituents is empty", "see what the vendor answers")

    async def _bars(self) -> None:
        interval = Interval.parse(self.provider.manifest.intervals[0])
        end = interval.floor_ns(self.clock.time_ns()) if interval.is_time else self.clock.time_ns()
        span = TimeRange(end - _SLOTS * (interval.length_ns or _LONGEST_STEP_NS), end)
        request = BarRequest(self.symbol, interval.code, span.start_ns, span.end_ns)
        flawed: dict[Flaw, int] = {}
        async with aclosing(self.provider.fetch_bars([request], lane=Lane.INTERACTIVE)) as batches:
            async for batch in batches:
                self._refused("bar", batch.rejected)
                if batch.columns is not None:
                    found = check_bars(batch.columns, span, interval=interval).flaws
                    for flaw in _RULES:
                        flawed[flaw] = flawed.get(flaw, 0) + int(((found & int(flaw)) != 0).sum())
                if batch.error is not None:
                    raise batch.error
        for flaw, count in flawed.items():
            if count:
                text = f"{count} of the bars of {self.symbol} would not be stored: {describe(flaw)}"
                self._say(Severity.WARNING, _RULES[flaw], text, "see what the vendor sends, and how it is read")

    async def _live(self) -> None:
        manifest = self.provider.manifest
        kinds = manifest.tick_kinds or (("trade",) if manifest.streams_ticks else ())
        wish = LiveSymbol(
            self.symbol,
            trades="trade" in kinds,
            quotes="quote" in kinds,
            book_top="book_top" in kinds,
            intervals=() if kinds else manifest.intervals[:1],
        )
        try:
            async with asyncio.timeout(_LIVE_S), aclosing(self.provider.stream_live([wish])) as batches:
                async for batch in batches:
                    for notice in batch.notices:
                        if isinstance(notice, SymbolNotice) and notice.state is SymbolState.REFUSED:
                            raise errors.VendorFailed(f"{notice.symbol} was refused: {notice.message}")
                    self._refused("tick", tuple(one for one in batch.notices if isinstance(one, RejectedRow)))
                    if batch.tick_chunks or batch.bar_chunks:
                        return
        except TimeoutError:
            text = f"no live row of {self.symbol} came within {_LIVE_S:g} s"
            self._say(Severity.INFO, "trial-quiet", text, "try a symbol that is traded now with `quasar dev ticks`")


def _failure(step: str, error: errors.QuasarError) -> Finding:
    """Say how a request failed: the code's own fault refuses it, the vendor's does not."""
    faults = errors.PluginFailed | errors.InvalidArgument | errors.PluginUnavailable
    own = isinstance(error, faults) and not isinstance(error, Unsupported)
    place = _PLACE.search(error.message)
    return Finding(
        severity=Severity.ERROR if own else Severity.WARNING,
        rule="trial-raised" if own else "trial-vendor-failed",
        message=f"{step}: {_PLACE.sub('', error.message)}",
        remedy="see the line" if place else "see what the vendor answers; secrets may be missing or refused",
        file=place.group(1) if place else "",
        line=int(place.group(2)) if place else 0,
        column=1 if place else 0,
    )
