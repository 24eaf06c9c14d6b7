"""EODHD played by a local server, with recorded answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from quasar.testing.local_server import LocalServer

DEMO_TOKEN = "demo"  # noqa: S105 - EODHD publishes it
"""The token that EODHD itself gives away for trying it out."""


class EodhdServer(LocalServer):
    """EODHD: answers `eod`, `intraday` and `exchange-symbol-list` with recorded rows, cut to what was asked."""

    def __init__(
        self,
        recorded: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        token: str = DEMO_TOKEN,
        port: int = 0,
    ) -> None:
        """Play recordings.

        Args:
            recorded: Rows by path, such as `eod/BHP.AU`, `intraday/AAPL.US` or `exchange-symbol-list/AU`.
            token: The only token that is accepted.
            port: Port to listen on; 0: a free one.
        """
        super().__init__(port)
        self._recorded = recorded
        self._token = token

    @property
    def base_url(self) -> str:
        """What stands for https://eodhd.com."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the one route."""
        return [web.get("/api/{kind}/{name}", self._get)]

    def asked(self, request: web.Request) -> str:
        """Count by what follows `/api/`."""
        return request.path.removeprefix("/api/")

    async def _get(self, request: web.Request) -> web.Response:
        if request.query.get("api_token") != self._token:
            return web.Response(text="Unauthenticated", status=401)
        rows = self._recorded.get(self.asked(request))
        if rows is None:
            return web.Response(text="Ticker Not Found.", status=404)
        return web.json_response([row for row in rows if _asked(row, request.query)])


def _asked(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if "date" in row:
        return bool(query.get("from", "") <= row["date"] <= query.get("to", "9999"))
    if "timestamp" in row:
        return bool(int(query.get("from", 0)) <= row["timestamp"] <= int(query.get("to", 1 << 60)))
    return True
