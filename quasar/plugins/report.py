"""What validation found, all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from quasar.plugins.manifest import Manifest


class Severity(IntEnum):
    """How grave a finding is; numbered as in the contract."""

    INFO = 1
    WARNING = 2
    ERROR = 3


class Stage(IntEnum):
    """A step of validation; numbered as in the contract."""

    ARCHIVE = 1
    STATIC = 2
    LOAD = 3
    TRIAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that validation found."""

    severity: Severity
    rule: str
    """Stable, kebab-case; the documentation has an entry for each."""
    message: str
    """What is wrong, in one sentence that names the thing and its value."""
    remedy: str = ""
    """What the author can do about it."""
    file: str = ""
    line: int = 0
    """From 1; 0: no place."""
    column: int = 0
    """From 1; 0: no place."""
    excerpt: str = ""
    """The source line."""

    @property
    def place(self) -> str:
        """File, line and column for people; empty when there is none."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of validating a piece of code."""

    passed: bool
    """No finding is an error."""
    stage: Stage
    """The last stage that was reached."""
    findings: tuple[Finding, ...]
    """Errors first, then by file, line and column."""
    sha256: str
    manifest: Manifest | None = None
    validator: str = ""
    elapsed_s: float = 0.0
    peak_memory_bytes: int = 0
    output: str = ""
    """What the code printed while it ran, without secrets, at most 64 KiB."""


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings as a report lists them."""
    return tuple(sorted(findings, key=lambda one: (-one.severity, one.file, one.line, one.column, one.rule)))
