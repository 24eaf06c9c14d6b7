"""The registry's lists at a million assets: every order and every filter that the contract offers.

Each list is asked for a page in each order, behind filters on each field (most of which nothing passes, so that a page
has to look as far as it may), for the page after it, and for page 1,000. What is answered must be answered within the
bar; an order that is refused at that size (docs/adr/0009) is counted. A row shows the dearest page and its query.

Command: `python -m benchmarks.registry_lists` (two minutes), `--quick` for a look, `--dear MS` to see every page that
took longer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

from benchmarks.market_database import market_database
from benchmarks.registry_ground import at_length, median, row, source, vacuum
from benchmarks.registry_world import FILLS
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.errors import InvalidFilter
from quasar.filters import Field
from registry.assets import catalog
from registry.assets.listing import ASSETS
from registry.code.catalog import Catalog
from registry.identities.directory import IDENTITIES, list_identities
from registry.indices.listing import INDICES, MEMBERS
from registry.indices.reading import list_indices, list_members
from registry.mappings.listing import COMMON_SYMBOLS, MAPPINGS
from registry.mappings.pages import list_mappings
from registry.matching.proposals import PROPOSALS, list_proposals
from registry.store import code_listing
from registry.store.listing import Listing, Query
from registry.store.statements import SQL
from registry.store.subscription_listing import SERIES, SUBSCRIPTIONS
from registry.subscriptions import series

BAR_MS: Final = 50.0
_AGAIN_MS: Final = 40.0
"""A page that took longer is measured again, and the median counts: one of hundreds meets another process."""
_FAR: Final = 999
_ALONG: Final = ("symbol", "name desc", "source.name desc")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is."""

    assets: int = 1_000_000
    mapped: int = 200_000
    identities: int = 500_000
    proposals: int = 50_000
    subscriptions: int = 20_000
    selected: int = 150_000
    """Symbols of one subscription that selects by class."""
    members: int = 10_000
    code: int = 300


QUICK = Sizes(150_000, 30_000, 50_000, 5_000, 2_000, 15_000, 1_000, 50)


@dataclass(frozen=True, slots=True)
class Listed:
    """One list of the contract."""

    name: str
    page: Callable[[Query], Awaitable[str]]
    """Fetches a page and returns the token of the next one."""
    fields: Mapping[str, Field]
    orders: tuple[str, ...]
    """The fields that an order may name."""
    along: tuple[str, ...] = ()
    """Orders that indexes give, which filters are tried in too."""


def _probes(fields: Mapping[str, Field]) -> Iterator[str]:
    """Yield filters on every field: what nothing passes, what everything passes, parts of texts."""
    for name, field in fields.items():
        if field.type == "text":
            yield from (f'{name} = "zzzz"', f'{name} != "zzzz"', f'{name}:"zzzz"', f'{name} = "zz*"', f'{name} = "*zz"')
        elif field.type == "enum":
            yield from (f'{name} = "{value}"' for value in (*field.values[1:3], field.values[-1]))
        elif field.type == "list":
            word = field.values[-1] if field.values else "zzzz"
            yield from (f'{name} = "{word}"', f'{name} != "{word}"', f'{name}:"zzzz"')
        elif field.type == "time":
            yield from (f'{name} > "2100-01-01T00:00:00Z"', f'{name} < "2100-01-01T00:00:00Z"')
        else:
            yield from (f"{name} > 77777", f"{name} < 77777")


def _queries(listed: Listed) -> Iterator[Query]:
    """Yield every query that is tried."""
    yield Query()
    for order in listed.orders:
        yield from (Query(order_by=order), Query(order_by=f"{order} desc"))
    for probe in _probes(listed.fields):
        yield from (Query(filter=probe, order_by=order) for order in ("", *listed.along))


async def _spent(listed: Listed, query: Query) -> tuple[float, str]:
    """Return the milliseconds of a page and the token of the next one."""
    await listed.page(query)
    begun = time.perf_counter()
    token = await listed.page(query)
    spent = (time.perf_counter() - begun) * 1000
    if spent > _AGAIN_MS:
        spent = await median(lambda: listed.page(query), times=3 if spent > 10 * BAR_MS else 5)
    return spent, token


async def _swept(listed: Listed, dear_ms: float) -> dict[str, Any]:
    """Ask for everything; return the row of the dearest page."""
    worst, query_of_worst, pages, refused = 0.0, Query(), 0, 0
    for query in _queries(listed):
        try:
            spent, token = await _spent(listed, query)
            found = [(spent, query)]
            if token:
                following = replace(query, page_token=token)
                found.append(((await _spent(listed, following))[0], following))
        except InvalidFilter:
            refused += 1
            continue
        pages += len(found)
        for spent, asked in found:
            if spent > dear_ms:
                print(f"{listed.name}: {spent:.0f} ms: {_told(asked)}", file=sys.stderr, flush=True)
            if spent > worst:
                worst, query_of_worst = spent, asked
    label = f"{listed.name}: the dearest of {pages} pages ({refused} orders refused): {_told(query_of_worst)}"
    return row(label, worst, "ms", BAR_MS, at_most=True)


def _told(query: Query) -> str:
    parts = (query.filter, query.order_by and f"by {query.order_by}", query.page_token and "the page after")
    return ", ".join(filter(None, parts)) or "the usual one"


async def _far(listed: Listed) -> list[dict[str, Any]]:
    """Return the first page and page 1,000 (or the last but one)."""
    first, token = await _spent(listed, Query())
    count = 1
    while token and count < _FAR:
        following = await listed.page(Query(page_token=token))
        if not following:
            break
        token, count = following, count + 1
    far = await _spent(listed, Query(page_token=token)) if token else (first, "")
    return [
        row(f"{listed.name}: first page", first, "ms", BAR_MS, at_most=True),
        row(f"{listed.name}: page {count + bool(token):,}", far[0], "ms", BAR_MS, at_most=True),
    ]


def _lists(database: Database, sizes: Sizes) -> list[Listed]:
    """Return the lists of the contract, each with how a page of it is fetched."""
    code = Catalog(SimpleNamespace(database=database), {})  # type: ignore[arg-type]  # all that pages need
    now = SystemClock().now()

    def plain(listing: Listing, statement: str, *arguments: object) -> Callable[[Query], Awaitable[Any]]:
        scope = tuple(map(str, arguments))
        return lambda query: listing.page(database, SQL[statement], query, *arguments, scope=scope)

    return [
        _of(f"{sizes.assets:,} assets", lambda q: catalog.list_assets(database, q), ASSETS, *_ALONG),
        _of(f"{sizes.identities:,} identities", lambda q: list_identities(database, q, None), IDENTITIES),
        _of(f"{sizes.proposals:,} proposals", lambda q: list_proposals(database, q, now), PROPOSALS),
        _of(f"{sizes.mapped:,} mappings", lambda q: list_mappings(database, q), MAPPINGS, "common_symbol"),
        _of(
            f"{sizes.mapped:,} common symbols",
            plain(COMMON_SYMBOLS, "common_symbol_page"),
            COMMON_SYMBOLS,
            "symbol desc",
        ),
        _of("500 indices", lambda q: list_indices(database, q), INDICES),
        _of(f"{sizes.members:,} members of an index", lambda q: list_members(database, "big", now, q, ""), MEMBERS),
        _of(f"{sizes.subscriptions:,} subscriptions", plain(SUBSCRIPTIONS, "subscription_page"), SUBSCRIPTIONS),
        _of(f"{sizes.subscriptions + sizes.selected:,} subscribed series", lambda q: _series(database, q), SERIES),
        Listed(
            f"{sizes.code} entries of code",
            lambda q: _token(_of_code(code, q)),
            code_listing.FIELDS,
            tuple(code_listing.ORDER),
        ),
    ]


async def _series(database: Database, query: Query) -> Any:
    found = await series.page(SimpleNamespace(database=database), None, query, "", with_status=False)  # type: ignore[arg-type]  # as above
    return found


def _of(name: str, fetch: Callable[[Query], Awaitable[Any]], listing: Listing, *along: str) -> Listed:
    return Listed(name, lambda query: _token(fetch(query)), listing.fields, tuple(listing.terms), along)


def _of_code(code: Catalog, query: Query) -> Awaitable[Any]:
    return code.page(
        filter_text=query.filter, order_by=query.order_by, page_size=query.page_size, page_token=query.page_token
    )


async def _token(fetched: Awaitable[Any]) -> str:
    """Return the token of the page after; lists return it as a part of a tuple or by its name."""
    page = await fetched
    return str(page[1] if isinstance(page, tuple) else page.next_page_token)


async def _fill(database: Database, sizes: Sizes) -> None:
    """Make what is listed."""
    codes = [await source(database, f"listed{number}") for number in range(5)]
    for code_id in codes:
        await at_length(database, FILLS["assets"], code_id, sizes.assets // 5)
    for name, arguments in (
        ("mappings", (codes[1], sizes.mapped)),
        ("identities", (sizes.identities,)),
        ("proposals", (codes[2], sizes.proposals)),
        ("indices", (sizes.members,)),
        ("subscriptions", (codes[0], sizes.subscriptions)),
        ("selection", (codes[3], sizes.selected)),
        ("code", (sizes.code,)),
    ):
        await at_length(database, FILLS[name], *arguments)
    for row_ in await database.fetch("select relname from pg_stat_user_tables where schemaname = 'registry'"):
        await vacuum(database, row_["relname"])


async def _measure(sizes: Sizes, dear_ms: float) -> list[dict[str, Any]]:
    found = []
    async with market_database() as database:
        await _fill(database, sizes)
        for listed in _lists(database, sizes):
            found += await _far(listed)
            found.append(await _swept(listed, dear_ms))
    return found


def rows(sizes: Sizes | None = None, dear_ms: float = float("inf")) -> list[dict[str, Any]]:
    """Return the figures."""
    return asyncio.run(_measure(sizes or Sizes(), dear_ms))


def main() -> int:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dear", type=float, default=float("inf"), metavar="MS")
    chosen = parser.parse_args()
    for each in rows(QUICK if chosen.quick else None, chosen.dear):
        print(json.dumps(each, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
