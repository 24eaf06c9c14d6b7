"""The page of the CCI30 index played by a local server, in the shape of the vendor's; its values are invented."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from quasar.providers.cci30 import PATH
from quasar.testing.local_server import LocalServer

MEMBERS: Final[Mapping[str, tuple[str, float]]] = {
    "BTC": ("Bitcoin", 1_600_000_000_000.0),
    "ETH": ("Ethereum", 400_000_000_000.0),
    "XRP": ("XRP", 144_000_000_000.0),
    "BNB": ("BNB", 100_000_000_000.0),
    "SOL": ("Solana", 81_000_000_000.0),
    "1INCH": ("1inch Network", 400_000_000.5),
}
"""Names and market values by symbol."""


class Cci30Server(LocalServer):
    """Answers with JSON that is called `text/html`; the members stand in two tables, as the vendor splits them."""

    def __init__(self, members: Mapping[str, tuple[str, float]] = MEMBERS, *, port: int = 0) -> None:
        """Show members: name and market value by symbol."""
        super().__init__(port)
        self.members = dict(members)

    @property
    def base_url(self) -> str:
        """What stands for https://cci30.com."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the one route."""
        return [web.get(PATH, self._get)]

    async def _get(self, request: web.Request) -> web.Response:
        rows = list(self.members.items())
        half = (len(rows) + 1) // 2
        html = "".join(_table(part) for part in (rows[:half], rows[half:]) if part)
        return web.Response(text=json.dumps({"constituentsDiv": html}), content_type="text/html")


def _table(rows: Sequence[tuple[str, tuple[str, float]]]) -> str:
    body = "".join(
        f"<tr><td>{place}</td><td><img src='x.png'>{name} <span>{symbol}</span></td><td>${value:,.2f}</td></tr>"
        for place, (symbol, (name, value)) in enumerate(rows, 1)
    )
    return f"<table><thead><tr><th>#</th><th>Name</th><th>Market cap</th></tr></thead><tbody>{body}</tbody></table>"
