"""What a source of bars answers, as collection sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from datahub.collection.runs import Failure
from datahub.ingest.quarantine import HeldRow
from quasar.model.bars import BarColumns
from quasar.sdk.notices import EmptyRange
from quasar.sdk.requests import BarRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A part of the answer to one request, or its end."""

    columns: BarColumns
    """Bars in the order in which they came; may be empty."""
    empty: Sequence[EmptyRange] = ()
    """Stretches for which the source said that it has nothing."""
    refused: Sequence[HeldRow] = ()
    """Rows that could not be put into columns."""
    done: bool = False
    """Everything that the source has was sent."""
    failure: Failure | None = None
    """It failed; what was sent before is good."""
    received_bytes: int = 0
    """Since the part before."""
    vendor_calls: int = 0
    """Since the part before."""
    wait_s: float = 0.0
    """Waited for permits since the part before."""


class BarSource(Protocol):
    """Whoever has bars: a provider behind its process."""

    @property
    def waiting(self) -> bool:
        """Whether a call waits for leave of the provider's rate limits now."""
        ...

    def fetch(self, request: BarRequest) -> AsyncGenerator[Answer, None]:
        """Yield the answer in parts; the last one is done or has a failure. Closing it ends the request."""
        ...
