"""The registry at scale: merging a source's symbols, matching, suggesting, listing.

Merging stands beside the server's own COPY of the same rows into a table without keys. The other figures stand beside
their bars: they have no peer.

Command: `python -m benchmarks.registry` (two minutes), `--full` for 100,000 assets against 500,000 identities,
`--quick` for a look. The lists are those of a million assets; their rows hold the dearest pages that are answered at
that size: behind filters that nothing passes, in every order that is not refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import string
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from benchmarks.market_database import market_database
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.ops.operations import Operations
from registry.assets import catalog
from registry.assets.merging import Merging
from registry.assets.rows import RowReader, SourceSymbol
from registry.code.refs import CodeKind, CodeRef
from registry.ground import Ground
from registry.identities.directory import list_identities
from registry.identities.rows import IdentityRow
from registry.mappings.editing import Mappings
from registry.mappings.listing import COMMON_SYMBOLS
from registry.mappings.pages import list_mappings
from registry.mappings.suggestions import SuggestionQuery, Suggestions
from registry.matching.matcher import Matcher, Scope
from registry.requests import Requests
from registry.running import Running
from registry.store import identities as identity_table
from registry.store.assets import Merged
from registry.store.listing import Query
from registry.store.statements import SQL

PAGE = 5_000
EXCHANGES = ("XNYS", "XNAS", "XLON", "XETR", "XPAR", "XTKS")
_WORDS = ("alpha", "beta", "gamma", "delta", "omega", "energy", "global", "data", "steel", "water", "capital", "north")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    merged: int = 200_000
    assets: int = 40_000
    identities: int = 200_000
    suggested: int = 20_000
    listed: int = 1_000_000
    mapped: int = 200_000


FULL = Sizes(assets=100_000, identities=500_000)
QUICK = Sizes(merged=40_000, assets=4_000, identities=20_000, suggested=4_000, listed=150_000, mapped=30_000)


def _tickers(count: int, seed: int) -> list[str]:
    """Return invented tickers of two to six letters, each once."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(chance.choices(string.ascii_uppercase, k=chance.choice((2, 3, 4, 4, 5, 5, 6, 6))))] = None
    return list(found)


def _name(chance: random.Random) -> str:
    return " ".join(chance.choices(_WORDS, k=3)) + " inc"


async def _merge(database: Database, code_id: int, symbols: list[SourceSymbol]) -> Merged:
    merging = Merging(_ground(database), code_id)
    async with merging.at_work():
        for start in range(0, len(symbols), PAGE):
            await merging.take(symbols[start : start + PAGE])
    return merging.merged


async def _source(database: Database, name: str) -> int:
    code_id: int = await database.fetchval(
        "insert into registry.code_registry (kind, name) values ('provider', $1) returning code_id", name
    )
    await database.execute(
        "insert into registry.code_versions (code_id, version, sha256, file_name, manifest)"
        " values ($1, 1, sha256($2::text::bytea), 'bench.py', $3)",
        code_id,
        name,
        {"kind": "CODE_KIND_PROVIDER", "name": name, "capabilities": ["PROVIDER_CAPABILITY_SYMBOLS"]},
    )
    await database.execute("update registry.code_registry set active_version = 1 where code_id = $1", code_id)
    return code_id


def _symbols(tickers: list[str], seed: int, suffix: str = "") -> list[SourceSymbol]:
    chance = random.Random(seed)
    return [
        SourceSymbol(
            symbol=f"{ticker}{suffix}",
            matcher_symbol=ticker,
            name=_name(chance),
            exchange=chance.choice(EXCHANGES),
            asset_class="equity",
            quote_currency="USD",
            country="US",
        )
        for ticker in tickers
    ]


async def _merging(database: Database, sizes: Sizes) -> list[dict[str, Any]]:
    symbols = _symbols(_tickers(sizes.merged, 1), 1, ".US")
    limit = await _copy(database, symbols)
    code_id = await _source(database, "merged")
    rows = []
    for label, told in (
        ("new", symbols),
        ("unchanged", symbols),
        ("changed", [symbol._replace(name=f"{symbol.name} new") for symbol in symbols]),
    ):
        begun = time.perf_counter()
        await _merge(database, code_id, told)
        rate = sizes.merged / (time.perf_counter() - begun)
        bar = 40_000 if label == "new" else None
        rows.append(_row(f"assets merged, {sizes.merged:,} {label}", rate, "rows/s", bar, limit=limit))
    return rows


async def _copy(database: Database, symbols: list[SourceSymbol]) -> float:
    """Return the rows per second of a bare COPY of the same rows."""
    rows = RowReader().read(symbols)
    async with database.transaction() as connection:
        await connection.execute("create temp table bare (like registry.assets) on commit drop")
        columns = tuple(name for name in rows[0]._fields if name != "identity_id")
        await connection.execute("alter table bare alter asset_id drop not null, alter code_id drop not null")
        for column in (
            "state",
            "identity_state",
            "first_seen_at",
            "last_seen_at",
            "updated_at",
            "revision",
            "attributes",
        ):
            await connection.execute(f"alter table bare drop column {column}")
        for column in ("identity_id", "identity_origin", "match_method", "match_reason", "manual_fields"):
            await connection.execute(f"alter table bare drop column {column}")
        begun = time.perf_counter()
        await connection.copy_records_to_table("bare", records=rows, columns=columns)
        return len(rows) / (time.perf_counter() - begun)


def _ground(database: Database) -> Ground:
    clock = SystemClock()
    events = Events(database, "registry", clock)
    running = Running(database, Operations(database, "registry", events, clock))
    return Ground(database, clock, events, Requests(clock), running)


def _context() -> Any:
    """Return what a handler is given, without a runner behind it."""
    operation = SimpleNamespace(operation_id=uuid.uuid4(), subject="bench", actor=None)
    return SimpleNamespace(operation=operation, progress=lambda *_a, **_k: None, request={})


async def _matching(database: Database, sizes: Sizes) -> list[dict[str, Any]]:
    """A third of the assets is exact, a third like an identity, a third like nothing."""
    await database.execute("truncate registry.assets cascade")
    tickers = _tickers(sizes.identities + sizes.assets, 3)
    known, strange = tickers[: sizes.identities], tickers[sizes.identities :]
    await _identities(database, known)
    seconds = []
    for number, count in enumerate((sizes.assets // 2, sizes.assets)):
        code_id = await _source(database, f"matched{number}")
        third = count // 3
        chosen = [*known[:third], *(f"{t}{t[-1]}X" for t in known[third : 2 * third]), *strange[: count - 2 * third]]
        await _merge(database, code_id, _symbols(list(dict.fromkeys(chosen)), 3))
        await database.execute("analyze registry.assets")
        begun = time.perf_counter()
        await Matcher(_ground(database)).match(_context(), Scope(code_ids=[code_id]))
        seconds.append(time.perf_counter() - begun)
    half, whole = seconds
    label = f"{sizes.assets:,} assets against {sizes.identities:,} identities matched"
    bar = 60.0 * sizes.assets / FULL.assets
    return [
        _row(label, whole, "s", bar, at_most=True),
        _row("time to match twice the assets", whole / half, "×", 2.3, at_most=True),
    ]


async def _identities(database: Database, tickers: list[str]) -> None:
    chance = random.Random(5)
    rows = []
    for number, ticker in enumerate(tickers):
        name = _name(chance)
        rows.append(
            IdentityRow(
                f"ID{number:010}",
                None, None, None, None, None,
                chance.choice(EXCHANGES),
                ticker,
                name,
                "equity",
                "securities",
                "USD", "US", None, None, [], ticker, name,
            )
        )  # fmt: skip
    async with database.transaction() as connection:
        await connection.execute("set local statement_timeout = '30min'")
        now = SystemClock().now()
        await identity_table.merge(connection, "bench", 1, rows, now, snapshot=True)
    await database.execute("analyze registry.identities")


async def _suggesting(database: Database, sizes: Sizes) -> list[dict[str, Any]]:
    await database.execute("truncate registry.assets cascade")
    tickers = _tickers(sizes.suggested, 7)
    for name, suffix in (("left", ".US"), ("right", "")):
        await _merge(database, await _source(database, name), _symbols(tickers, len(suffix), suffix))
    await database.execute("vacuum analyze registry.assets")
    suggestions = Suggestions(_ground(database), Mappings(_ground(database)))
    query = SuggestionQuery(source=CodeRef(CodeKind.PROVIDER, "left"), target=CodeRef(CodeKind.PROVIDER, "right"))
    spent = await _median(lambda: suggestions.find(query))
    label = f"first page of suggestions, {sizes.suggested:,} × {sizes.suggested:,} assets, warm"
    return [_row(label, spent, "ms", 300, at_most=True)]


async def _listing(database: Database, sizes: Sizes) -> list[dict[str, Any]]:
    await database.execute("truncate registry.assets cascade")
    for number in range(5):
        code_id = await _source(database, f"listed{number}")
        await _at_length(database, _FILL, code_id, sizes.listed // 5)
    await _at_length(database, _MAP, "listed1", sizes.mapped)
    for table in ("assets", "asset_mapping", "common_symbols", "identities"):
        await _vacuum(database, table)
    token = ""
    for _ in range(min(999, sizes.listed // 50 - 2)):
        token = (await catalog.list_assets(database, Query(page_token=token))).next_page_token
    queries: Mapping[str, Query] = {
        "first page": Query(),
        "page 1,000": Query(page_token=token),
        "by name, descending": Query(order_by="name desc"),
        "by symbol": Query(order_by="symbol"),
        "of one source and class": Query(filter='source.name = "listed3" AND asset_class = "ETF"'),
        "one symbol in any case": Query(filter='symbol = "s0000777"'),
        "one common symbol": Query(filter='common_symbol = "c0000777"'),
        "a filter that nothing passes": Query(filter='country = "ZW"'),
        "a text that no name has": Query(filter='name:"zzzz"'),
        "the same by symbol": Query(filter='name:"zzzz"', order_by="symbol"),
        "the same by name": Query(filter='name:"zzzz"', order_by="name"),
        "mapped ones, by symbol descending": Query(filter="mapped = true", order_by="symbol desc"),
    }
    rows = []
    for label, query in queries.items():
        spent = await _median(lambda query=query: catalog.list_assets(database, query))  # type: ignore[misc]
        rows.append(_row(f"list of {sizes.listed:,} assets, {label}", spent, "ms", 50, at_most=True))
    return [*rows, *await _other_lists(database, sizes)]


async def _other_lists(database: Database, sizes: Sizes) -> list[dict[str, Any]]:
    """The lists beside assets: mappings, common symbols, identities."""

    async def common(query: Query) -> Any:
        return await COMMON_SYMBOLS.page(database, SQL["common_symbol_page"], query)

    nothing = Query(filter='exchange = "NOPE"')
    calls: Mapping[str, Callable[[], Awaitable[Any]]] = {
        f"{sizes.mapped:,} mappings": lambda: list_mappings(database, Query()),
        f"{sizes.mapped:,} mappings, a filter that nothing passes": lambda: list_mappings(database, nothing),
        f"{sizes.mapped:,} common symbols": lambda: common(Query()),
        f"{sizes.mapped:,} common symbols, by a computed count": lambda: common(Query(filter="mapping_count = 7")),
        f"{sizes.identities:,} identities": lambda: list_identities(database, Query(), None),
        f"{sizes.identities:,} identities, one symbol or alias": lambda: list_identities(
            database, Query(filter='symbol = "ABC"'), None
        ),
        f"{sizes.identities:,} identities, a filter that nothing passes": lambda: list_identities(
            database, nothing, None
        ),
    }
    return [_row(f"list of {label}", await _median(call), "ms", 50, at_most=True) for label, call in calls.items()]


async def _at_length(database: Database, statement: str, *arguments: Any) -> None:
    """Run a statement that may take longer than the platform allows its own."""
    async with database.transaction() as connection:
        await connection.execute("set local statement_timeout = '10min'")
        await connection.execute(statement, *arguments)


async def _vacuum(database: Database, table: str) -> None:
    async with database.acquire() as connection:
        await connection.execute("set statement_timeout = '10min'")
        await connection.execute(f"vacuum analyze registry.{table}")
        await connection.execute("reset statement_timeout")


_MAP = """
with named as (
    insert into registry.common_symbols (symbol)
    select 'C' || lpad(i::text, 7, '0') from generate_series(1, $2::integer) i returning common_symbol_id, symbol
)
insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin)
select a.asset_id, a.code_id, n.common_symbol_id, 'AUTOMATIC'
from registry.assets a
join registry.code_registry c using (code_id)
join named n on n.symbol = 'C' || substr(a.symbol, 2)
where c.name = $1
"""


_FILL = """
insert into registry.assets (code_id, symbol, name, name_key, exchange,
    asset_class, quote_currency, country, matcher_symbol,
    root_symbol, full_symbol, match_key, identity_group)
select $1, 'S' || lpad(i::text, 7, '0'), 'Company ' || md5(i::text), 'company ' || md5(i::text),
    (array['XNAS', 'XLON'])[1 + i % 2],
    (array['equity', 'etf', 'crypto', 'bond'])[1 + i % 4],
    'USD', 'US', 'S' || i, 's' || i, 's' || i, 'S' || i, 'securities'
from generate_series(1, $2::integer) i
"""


async def _median(call: Callable[[], Awaitable[Any]], times: int = 9) -> float:
    """Return the median of some calls in milliseconds, after two that warm up."""
    spent = []
    for _ in range(times + 2):
        begun = time.perf_counter()
        await call()
        spent.append((time.perf_counter() - begun) * 1000)
    return sorted(spent[2:])[times // 2]


def _row(
    name: str, value: float, unit: str, bar: float | None, *, at_most: bool = False, limit: float | None = None
) -> dict[str, Any]:
    holds = None if bar is None else (value <= bar if at_most else value >= bar)
    sign = "≤" if at_most else "≥"
    return {
        "issue": "registry",
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "against": "bare COPY of the rows" if limit else "",
        "against_value": round(limit, 2) if limit else None,
        "ratio": round(value / limit, 3) if limit else None,
        "bar": f"{sign} {bar:,g} {unit}" if bar is not None else "",
        "holds": holds,
    }


async def _measure(sizes: Sizes) -> list[dict[str, Any]]:
    found = []
    async with market_database() as database:
        for part in (_merging, _matching, _suggesting, _listing):
            found += await part(database, sizes)
    return found


def rows(sizes: Sizes | None = None) -> list[dict[str, Any]]:
    """Return the figures."""
    return asyncio.run(_measure(sizes or Sizes()))


def main() -> int:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    chosen = parser.parse_args()
    for row in rows(FULL if chosen.full else QUICK if chosen.quick else None):
        print(json.dumps(row, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
