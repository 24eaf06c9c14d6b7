"""A provider as its author writes it, over the pages of `tests.integration.datahub.paged_vendor`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from quasar.provider import Bar, BarRequest, HttpOptions, Preference, Provider

MINUTE_NS = 60_000_000_000
PAGE_ROWS = 100


class Paged(Provider):
    """Minutes in pages of a hundred; every patience is short, so that faults reach the runs and not only the client."""

    name = "paged"
    intervals = ("1min",)
    calendar = "24/7"
    http_options = HttpOptions(timeout_s=5.0, attempts=1, longest_wait_s=0.1)

    base_url = Preference("https://example.invalid", description="Where the vendor is.", needs_restart=True)

    async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
        """Ask page by page."""
        start = request.start_ns
        while start < request.end_ns:
            end = min(start + PAGE_ROWS * MINUTE_NS, request.end_ns)
            terms: dict[str, str | int | float | None] = {"symbol": request.symbol, "start": start, "end": end}
            page = await self.http.json(f"{self.base_url}/bars", terms)
            for time, opened, high, low, close, volume in page["rows"]:
                yield Bar(int(time), float(opened), float(high), float(low), float(close), float(volume))
            start = end
