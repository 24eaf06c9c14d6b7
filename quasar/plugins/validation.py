"""Validates code before it is stored: the archive, then static reading, then a trial run in the jail; works offline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from quasar import errors
from quasar.clock import Clock, SystemClock
from quasar.plugins.archive import read_sources
from quasar.plugins.code import CodeVersion
from quasar.plugins.foreign import FILE as FOREIGN
from quasar.plugins.foreign import foreign_of
from quasar.plugins.jail.spec import Limits
from quasar.plugins.manifest import Kind
from quasar.plugins.reading.code import read_code
from quasar.plugins.report import Finding, Report, Severity, Stage, ordered
from quasar.plugins.trial import LIMITS, Trial, trial_folder, try_out
from quasar.plugins.trial_requests import ask_vendor

__all__ = ["Finding", "Report", "Severity", "Stage", "validate"]


async def validate(
    kind: Kind,
    file_name: str,
    source: bytes,
    *,
    static_only: bool = False,
    network: bool = False,
    secrets: Mapping[str, str] | None = None,
    preferences: Mapping[str, Any] | None = None,
    validator: str = "offline",
    time_s: float = 10.0,
    limits: Limits = LIMITS,
    clock: Clock | None = None,
) -> Report:
    """Return everything that is to be said about a piece of code. Code that is refused is no error of the call.

    Args:
        kind: What it is to be.
        file_name: The name of the uploaded file; its ending decides how it is read.
        source: Its bytes.
        static_only: Run nothing.
        network: Let a provider reach its declared hosts in a second run, and make one small request of each sort.
        secrets: For the trial run; neither stored nor logged, and hidden in the report.
        preferences: For the trial run; absent: the defaults.
        validator: Who validates, for the report.
        time_s: How long loading may take.
        limits: What the trial run may use.
        clock: Tells the time and waits.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    texts, findings = read_sources(file_name, source)
    stage, trial, symbols = Stage.ARCHIVE, Trial(), 1
    if not _has_errors(findings):
        stage = Stage.STATIC
        symbols, read = _read(kind, file_name, source, texts)
        findings += read
    if not _has_errors(findings) and not static_only:
        code = CodeVersion(
            kind=kind,
            name=_stem(file_name),
            source=source,
            file_name=file_name,
            secrets=secrets or {},
            preferences=preferences or {},
            ports=(),
        )
        trial = await try_out(code, clock, time_s, limits, symbols)
        stage = Stage.TRIAL if trial.loaded else Stage.LOAD
        findings += trial.findings
        if network and kind is Kind.PROVIDER and not _has_errors(findings):
            with trial_folder() as folder:
                findings += await ask_vendor(code, folder, limits, clock)
    return Report(
        passed=not _has_errors(findings),
        stage=stage,
        findings=ordered([_with_line(one, texts) for one in findings]),
        sha256=hashlib.sha256(source).hexdigest(),
        manifest=trial.manifest,
        validator=validator,
        elapsed_s=clock.monotonic() - began,
        peak_memory_bytes=trial.peak_memory_bytes,
        output=trial.output,
    )


def _read(kind: Kind, file_name: str, source: bytes, texts: Mapping[str, str]) -> tuple[int, list[Finding]]:
    """Read what can be read without running it; of a program in another language that is how it is started."""
    remedy = "see docs/howto/write-a-plug-in-in-another-language.md"
    try:
        foreign = foreign_of(file_name, source)
    except errors.CodeRejected as error:
        return 1, [
            Finding(severity=Severity.ERROR, rule="bad-plugin-toml", message=error.message, remedy=remedy, file=FOREIGN)
        ]
    if foreign is None:
        return read_code(kind, texts)
    if foreign.kind is not kind:
        text = f"kind in {FOREIGN} must be {kind.value}, as it was uploaded, was {foreign.kind.value}"
        return 1, [Finding(severity=Severity.ERROR, rule="wrong-kind", message=text, remedy=remedy, file=FOREIGN)]
    return 1, []


def _with_line(finding: Finding, texts: Mapping[str, str]) -> Finding:
    """Return the finding with the source line that it points at, where that was not read with it."""
    lines = texts.get(finding.file, "").splitlines()
    if finding.excerpt or not 0 < finding.line <= len(lines):
        return finding
    return replace(finding, excerpt=lines[finding.line - 1].strip()[:200])


def need(report: Report) -> None:
    """Pass code that may be stored.

    Raises:
        CodeRejected: It may not; the message names the first error, the violations all of them.
    """
    if report.passed:
        return
    grave = [one for one in report.findings if one.severity is Severity.ERROR]
    violations = [errors.FieldViolation(one.place or "source", one.message, one.rule) for one in grave]
    first = grave[0]
    raise errors.CodeRejected(f"{first.place + ': ' if first.place else ''}{first.message}", violations=violations)


def _has_errors(findings: list[Finding]) -> bool:
    return any(one.severity is Severity.ERROR for one in findings)


def _stem(file_name: str) -> str:
    stem = "".join(sign if sign.isalnum() or sign in "_.-" else "_" for sign in file_name.rpartition(".")[0])
    return stem if stem[:1].isalpha() else f"p{stem}"
