"""What the historical half of the DataHub asks of the live half: each can be built and tested without the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Protocol

from datahub.reads.forming import Forming


class LiveApi(Protocol):
    """The live half of `MarketDataService`; requests and responses are those of the contract."""

    def stream_market_data(self, request: Any) -> AsyncGenerator[Any, None]:
        """Stream live data in envelopes."""
        ...

    async def update_subscriptions(self, request: Any) -> Any:
        """Change a running stream."""
        ...

    async def get_replay_window(self, request: Any) -> Any:
        """Say how far back a stream can start."""
        ...

    def watch_prices(self, request: Any) -> AsyncGenerator[Any, None]:
        """Stream a watchlist."""
        ...

    async def get_latest_prices(self, request: Any) -> Any:
        """Return the latest prices."""
        ...

    def forming_bars(self, series_ids: Collection[int]) -> Mapping[int, Forming]:
        """Return the bars that are forming of some series whose feed runs here, by their ids."""
        ...

    async def list_top_movers(self, request: Any) -> Any:
        """Rank live symbols."""
        ...
