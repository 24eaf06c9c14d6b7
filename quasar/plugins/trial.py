"""Trial runs: the code is loaded in the jail, with little time and memory, and tried as far as that needs no vendor."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from quasar import errors
from quasar.clock import Clock
from quasar.model.bars import BarColumns
from quasar.model.intervals import Interval
from quasar.plugins.code import CodeFolder, CodeVersion
from quasar.plugins.jail.spec import Limits
from quasar.plugins.manifest import Kind, Manifest
from quasar.plugins.permits import PermitDesk
from quasar.plugins.process import PluginProcess, ProcessSettings
from quasar.plugins.report import Finding, Severity
from quasar.plugins.strategy import BacktestSpec, StrategyHandle, StrategyInput

_MIB: Final = 1024 * 1024
LIMITS: Final = Limits(memory_bytes=512 * _MIB, scratch_bytes=16 * _MIB, file_bytes=8 * _MIB, cpu_s=30)
_PLACE: Final = re.compile(r" at ([^ ]+):(\d+)$")
_TRIAL_BARS: Final = 500
_MINUTE_NS: Final = 60_000_000_000


@dataclass(slots=True)
class Trial:
    """What a trial run brought."""

    manifest: Manifest | None = None
    findings: list[Finding] = field(default_factory=list)
    loaded: bool = False
    peak_memory_bytes: int = 0
    output: str = ""


async def try_out(
    code: CodeVersion, clock: Clock, time_s: float = 10.0, limits: Limits = LIMITS, symbols: int = 1
) -> Trial:
    """Load code in the jail without a network, and try what needs no vendor."""
    trial = Trial()
    with trial_folder() as folder:
        settings = ProcessSettings(service="validation", start_s=time_s, hang_s=5.0, grace_s=0.5, validating=True)
        path = CodeFolder(folder).materialise(code)
        process = PluginProcess(code, path, (), limits, PermitDesk(clock), settings, clock)
        try:
            async with process:
                trial.loaded = True
                trial.manifest = process.manifest
                if code.kind is Kind.STRATEGY:
                    await _try_strategy(process, trial, clock, symbols)
                trial.peak_memory_bytes = _peak(process.pid)
        except errors.QuasarError as error:
            trial.findings.append(_failed(error, process))
        trial.output = "\n".join(process.output.lines)[: 64 * 1024]
    return trial


@contextmanager
def trial_folder() -> Iterator[Path]:
    """Make a folder for the files of one trial, and remove it with them."""
    with tempfile.TemporaryDirectory(prefix="qv-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the jailed process has a user of its own
        yield folder


async def _try_strategy(process: PluginProcess, trial: Trial, clock: Clock, symbols: int) -> None:
    """Run a strategy over a few bars of a made-up market."""
    manifest = process.manifest
    assert manifest is not None
    interval = manifest.intervals[0] if manifest.intervals else "1min"
    length = Interval.parse(interval).length_ns or _MINUTE_NS
    series = [
        StrategyInput(name=f"TRIAL{number}", interval=interval, bars=_walk(number, length)) for number in range(symbols)
    ]
    handle = StrategyHandle(_Fixed(process), clock)  # type: ignore[arg-type]  # all that a handle asks a keeper for
    terms = {"cash": {"amount": {"value": "1000000"}, "currency": "USD"}, "recordLevel": "RECORD_LEVEL_STATISTICS"}
    spec = BacktestSpec(backtest_id="trial", series=series, terms=terms, callback_s=2.0)
    async for message in handle.run_backtest(spec):
        if message.HasField("outcome") and not message.outcome.succeeded:
            why = message.outcome.error
            finding = Finding(
                severity=Severity.ERROR,
                rule="trial-timeout" if why.type == "TimeoutError" else "trial-raised",
                message=f"{why.callback or 'the strategy'} raised {why.type}: {why.message}",
                remedy="see the line; the trial shows a few hundred made-up bars",
                file=why.file,
                line=why.line,
                column=1 if why.line else 0,
            )
            trial.findings.append(finding)


class _Fixed:
    """Stands in for a keeper where there is one process only."""

    def __init__(self, process: PluginProcess) -> None:
        self.process = process
        self.code = process.code
        self.last_exit = ""

    async def ready(self) -> PluginProcess:
        return self.process


def _walk(seed: int, length_ns: int) -> BarColumns:
    steps = np.random.default_rng(seed).normal(0.0, 0.003, _TRIAL_BARS)
    close = np.round(100.0 * np.exp(np.cumsum(steps)), 2)
    opening = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(opening, close) + 0.05, np.minimum(opening, close) - 0.05
    start = Interval.parse("1d").floor_ns(1_700_000_000_000_000_000)
    times = start + np.arange(_TRIAL_BARS, dtype=np.int64) * length_ns
    return BarColumns(times, opening, high, low, close, np.full(_TRIAL_BARS, 1000.0))


def _failed(error: errors.QuasarError, process: PluginProcess) -> Finding:
    message = process.output.redact(error.message)
    place = _PLACE.search(message)
    rule, remedy = "load-failed", "see the line; importing and constructing must need neither network nor secrets"
    if isinstance(error, errors.PluginUnavailable | errors.DeadlineExceeded):
        rule, remedy = "trial-timeout", "importing and constructing must take a moment only; move work into `start`"
    if process.cause is not None and process.cause.value in ("memory", "scratch"):
        rule, remedy = ("trial-memory" if process.cause.value == "memory" else "trial-scratch"), "use less"
    elif "SIGXCPU" in message:
        rule = "trial-timeout"
    elif "memory that it may use" in message or "MemoryError" in message:
        rule, remedy = "trial-memory", "use less memory"
    elif isinstance(error, errors.InvalidArgument) and not isinstance(error, errors.CodeRejected):
        rule, remedy = "bad-declaration", "correct the attribute of the class"
    return Finding(
        severity=Severity.ERROR,
        rule=rule,
        message=_PLACE.sub("", message),
        remedy=remedy,
        file=place.group(1) if place else "",
        line=int(place.group(2)) if place else 0,
        column=1 if place else 0,
    )


def _peak(pid: int) -> int:
    """Return the peak of resident memory; 0 where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
