"""What a provider's history has of a hole in its live trades, asked for as long as ticks may wait for it."""

from __future__ import annotations

import asyncio
from typing import Final

from datahub.live.followed import FetchTicks
from quasar import errors
from quasar.clock import Clock
from quasar.model.ticks import TickColumns

REFILL_S: Final = 20.0
"""How long ticks after a hole wait for what was in it."""


async def trades_of(
    fetch: FetchTicks, symbol: str, start_ns: int, end_ns: int, clock: Clock
) -> tuple[TickColumns, str]:
    """Return the trades that a provider has, and why it has none, or not in time.

    Args:
        fetch: Asks the provider.
        symbol: Of what.
        start_ns: From when on, nanoseconds UTC.
        end_ns: Until before when.
        clock: Waits while the provider is not there.
    """
    why = "the provider did not answer"
    try:
        async with asyncio.timeout(REFILL_S):
            while True:
                try:
                    # Whatever else a plug-in has: only trades are asked for.
                    return (await fetch(symbol, start_ns, end_ns, None)).trades(), ""
                except errors.Unavailable as error:
                    why = error.message
                    await clock.sleep(error.retry_after_s or 1.0)
    except TimeoutError:
        return TickColumns.empty(), f"{why}, for {REFILL_S:.0f} s"
    except errors.QuasarError as error:
        return TickColumns.empty(), error.message
