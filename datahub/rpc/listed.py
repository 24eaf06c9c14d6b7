"""What a provider lists, as messages: symbols and members of indices, with the rows that are none."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from quasar.convert.plugin_rows import constituent_to_proto
from quasar.errors import FailedPrecondition, InvalidArgument, NotFound, Resource
from quasar.plugins.permits import Usage
from quasar.plugins.provider import ProviderHandle
from quasar.rpc.wellknown import duration
from quasar.sdk.notices import RejectedRow
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

_PAGE_SYMBOLS: Final = 1_000
_MOST_ERRORS: Final = 100
_LONGEST_ERROR: Final = 500


async def listed(
    handle: ProviderHandle, request: pb.ListProviderSymbolsRequest
) -> AsyncGenerator[pb.ListProviderSymbolsResponse, None]:
    """Yield the symbols that a provider knows, in messages of the size that was asked for."""
    size = request.batch_size or _PAGE_SYMBOLS
    usage = Usage()
    refused = 0
    async with aclosing(handle.list_symbols(request.exchange, usage=usage)) as pages:
        async for page in pages:
            told = _words(page.rejected)[: max(0, _MOST_ERRORS - refused)]
            refused += len(page.rejected)
            for start in range(0, len(page) or 1, size):
                message = pb.ListProviderSymbolsResponse(
                    symbols=page.told[start : start + size],
                    total=page.total,
                    errors=told if not start else (),
                    error_count=refused,
                    rate_limit_wait=duration(usage.waited_s),
                )
                yield message


async def members(
    entry: ProviderEntry, runtime: ProviderRuntime, request: pb.ListConstituentsRequest
) -> pb.ListConstituentsResponse:
    """Return the members of an index of a provider.

    Raises:
        FailedPrecondition: It is no source of indices, or cannot answer for the date.
        NotFound: It does not answer for the index.
    """
    if not entry.can("INDEX"):
        raise FailedPrecondition(f"Provider {entry.name} is no source of indices.")
    indices = entry.manifest.indices or (entry.name,)
    if request.index and request.index not in indices:
        text = f"Provider {entry.name} does not answer for the index {request.index!r}; it has {', '.join(indices)}."
        raise NotFound(text, resource=Resource("index", request.index))
    handle = await runtime.handle(entry.name)
    date = dt.date.fromisoformat(request.as_of_date) if request.as_of_date else None
    try:
        found = await handle.constituents(request.index, date)
    except InvalidArgument as error:
        if date is None:
            raise
        raise FailedPrecondition(error.message) from error
    return pb.ListConstituentsResponse(
        index=request.index or indices[0],
        constituents=[constituent_to_proto(one) for one in found],
        effective_date=found.effective_date,
        errors=_words(found.rejected),
    )


def _words(rows: Iterable[RejectedRow]) -> list[str]:
    """Return what is wrong with each row, for people."""
    return [(f"{row.symbol}: {row.detail}" if row.symbol else row.detail)[:_LONGEST_ERROR] for row in rows]
