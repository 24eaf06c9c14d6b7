"""A vendor on a socket that answers in pages, and does on the page that a test names what vendors do on bad days."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from google.protobuf import json_format

from quasar.convert.manifest import manifest_to_proto
from quasar.database.pool import Database
from quasar.plugins.manifest import Kind, read_manifest
from quasar.testing.vendors import LocalServer
from tests.integration.datahub import paged_provider
from tests.integration.datahub.paged_provider import MINUTE_NS, PAGE_ROWS, Paged
from tests.integration.datahub.registry_rows import add_provider

Row = list[float]
_SOURCE = Path(paged_provider.__file__).read_bytes()


def row(time_ns: int) -> Row:
    """The one bar that the vendor has for a minute."""
    price = 100.0 + time_ns // MINUTE_NS % 50
    return [time_ns, price, price + 1, price - 1, price, 7.0]


@dataclass
class BadPage:
    """What happens on one page."""

    page: int
    """Which answer of a symbol, from 1."""
    fault: str
    """`error`, `busy`, `html`, `silence`, `half`, `twice`, `reversed`, `cut`."""
    times: int = 1
    """How often; it is a good page afterwards."""


@dataclass
class PagedVendor(LocalServer):
    """Minutes of any symbol."""

    bad: list[BadPage] = field(default_factory=list)
    pace_s: float = 0.0
    """Time that each page takes."""

    def __post_init__(self) -> None:
        super().__init__()
        self._pages: dict[tuple[str, int], int] = {}
        self.served: list[tuple[int, int]] = []
        """Begin and end of what was answered for in full, in order."""

    def routes(self) -> Sequence[web.RouteDef]:
        """One method."""
        return [web.get("/bars", self._bars)]

    async def _bars(self, request: web.Request) -> web.Response:
        start, end = int(request.query["start"]), int(request.query["end"])
        place = (request.query["symbol"], start)
        page = self._pages.setdefault(place, sum(1 for each in self._pages if each[0] == place[0]) + 1)
        self.calls[f"{place[0]} {page}"] += 1
        await asyncio.sleep(self.pace_s)
        rows = [row(time) for time in range(start, end, MINUTE_NS)]
        bad = next((each for each in self.bad if each.page == page and each.times), None)
        if bad is not None:
            bad.times -= 1
            return await self._badly(bad.fault, rows)
        self.served.append((start, end))
        return web.json_response({"rows": rows})

    async def _badly(self, fault: str, rows: list[Row]) -> web.Response:
        if fault == "error":
            return web.Response(status=500, text="out of memory")
        if fault == "busy":
            return web.Response(status=429, text="slow down", headers={"Retry-After": "2"})
        if fault == "html":
            return web.Response(text="<html>we are moving to a new home</html>")
        if fault == "silence":
            await asyncio.sleep(30)
        changed = {"half": rows[: PAGE_ROWS // 2], "twice": [*rows, *rows], "reversed": rows[::-1]}
        return web.json_response({"rows": changed[fault]})


async def add_paged(database: Database, vendor: PagedVendor) -> int:
    """Store the provider over a vendor as the registry does, and return its id."""
    manifest = json_format.MessageToDict(
        manifest_to_proto(read_manifest(Kind.PROVIDER, Paged)), preserving_proto_field_name=True
    )
    code_id = await add_provider(database, "paged", _SOURCE, manifest)
    await database.execute(
        "update registry.code_registry set preferences = $2, preferences_revision = preferences_revision + 1 "
        "where code_id = $1",
        code_id,
        {"base_url": f"http://127.0.0.1:{vendor.port}"},
    )
    return code_id
