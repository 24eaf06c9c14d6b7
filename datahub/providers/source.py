"""A provider's process as a source of bars: batches of the plug-in host turned into what collection reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol, cast

from datahub.collection.answers import Answer
from datahub.collection.runs import Failure
from datahub.ingest.quarantine import HeldRow, readable
from quasar.errors import QuasarError
from quasar.model.bars import BarColumns
from quasar.plugins.batches import BarBatch
from quasar.plugins.permits import Usage
from quasar.sdk.failures import Unauthorised, UnknownSymbol, Unsupported
from quasar.sdk.notices import RejectedRow
from quasar.sdk.requests import BarRequest

_HOPELESS = (UnknownSymbol, Unsupported, Unauthorised)


class FetchesBars(Protocol):
    """What is asked of a running provider."""

    def fetch_bars(self, requests: Sequence[BarRequest], *, usage: Usage) -> AsyncIterator[BarBatch]:
        """Yield batches of each request; each ends with one that is done. Permits are counted in `usage`."""
        ...


class ProviderSource:
    """Asks one running provider."""

    def __init__(self, handle: FetchesBars) -> None:
        """Ask `handle`."""
        self._handle = handle
        self._usage = Usage()

    @property
    def waiting(self) -> bool:
        """Whether a call waits for a permit of the provider now."""
        return self._usage.waiting > 0

    async def fetch(self, request: BarRequest) -> AsyncGenerator[Answer, None]:
        """Yield the answer in parts; closing it ends the request."""
        usage = self._usage
        calls, waited_s = usage.calls, usage.waited_s
        batches = cast("AsyncGenerator[BarBatch, None]", self._handle.fetch_bars([request], usage=usage))
        async with aclosing(batches):
            async for batch in batches:
                yield answer_of(batch, vendor_calls=usage.calls - calls, wait_s=usage.waited_s - waited_s)
                calls, waited_s = usage.calls, usage.waited_s
                if batch.done:
                    return


def answer_of(batch: BarBatch, *, vendor_calls: int = 0, wait_s: float = 0.0) -> Answer:
    """Return a batch as a part of an answer, with the calls made for it and how long they waited for permits."""
    columns = batch.columns if batch.columns is not None else BarColumns.empty()
    return Answer(
        columns=columns,
        empty=batch.empty,
        refused=[_held(row) for row in batch.rejected],
        done=batch.done and batch.error is None,
        failure=failure_of(batch.error) if batch.error is not None else None,
        received_bytes=_size(columns),
        vendor_calls=vendor_calls,
        wait_s=wait_s,
    )


def failure_of(error: QuasarError) -> Failure:
    """Return why an attempt failed; what another attempt cannot cure is final."""
    return Failure(error.reason, error.message, error.metadata, error.retry_after_s, final=isinstance(error, _HOPELESS))


def _held(row: RejectedRow) -> HeldRow:
    payload: Mapping[str, object] = row.payload
    reason = "UNKNOWN_SYMBOL" if row.symbol else "MALFORMED"
    plain = {name: readable(value) for name, value in payload.items()}
    return HeldRow(row.time_ns or None, reason, row.detail, plain)


def _size(columns: BarColumns) -> int:
    present = (getattr(columns, name) for name in columns.__slots__)
    return sum(int(values.nbytes) for values in present if values is not None)
