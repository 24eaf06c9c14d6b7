"""The registry at scale: merging a source's symbols, matching them, suggesting mappings.

Merging stands beside the server's own COPY of the same rows into a table without keys. The other figures stand beside
their bars: they have no peer. Lists are in `registry_lists`, many clients at once in `registry_clients`.

Command: `python -m benchmarks.registry` (a minute and a half), `--quick` for a look.
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
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from benchmarks.market_database import market_database
from benchmarks.registry_ground import ground, median, row, source
from quasar.clock import SystemClock
from quasar.database.pool import Database
from registry.assets.merging import Merging
from registry.assets.rows import RowReader, SourceSymbol
from registry.code.refs import CodeKind, CodeRef
from registry.identities.rows import IdentityRow
from registry.mappings.editing import Mappings
from registry.mappings.suggestions import SuggestionQuery, Suggestions
from registry.matching.matcher import Matcher, Scope
from registry.store import identities as identity_table
from registry.store.assets import Merged

PAGE = 5_000
EXCHANGES = ("XNYS", "XNAS", "XLON", "XETR", "XPAR", "XTKS")
_WORDS = ("alpha", "beta", "gamma", "delta", "omega", "energy", "global", "data", "steel", "water", "capital", "north")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    merged: int = 200_000
    assets: int = 100_000
    identities: int = 500_000
    suggested: int = 20_000


QUICK = Sizes(merged=40_000, assets=4_000, identities=20_000, suggested=4_000)


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
    merging = Merging(ground(database), code_id)
    async with merging.at_work():
        for start in range(0, len(symbols), PAGE):
            await merging.take(symbols[start : start + PAGE])
    return merging.merged


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
    code_id = await source(database, "merged")
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
        rows.append(row(f"assets merged, {sizes.merged:,} {label}", rate, "rows/s", bar, limit=limit))
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
        code_id = await source(database, f"matched{number}")
        third = count // 3
        chosen = [*known[:third], *(f"{t}{t[-1]}X" for t in known[third : 2 * third]), *strange[: count - 2 * third]]
        await _merge(database, code_id, _symbols(list(dict.fromkeys(chosen)), 3))
        await database.execute("analyze registry.assets")
        begun = time.perf_counter()
        await Matcher(ground(database)).match(_context(), Scope(code_ids=[code_id]))
        seconds.append(time.perf_counter() - begun)
    half, whole = seconds
    label = f"{sizes.assets:,} assets against {sizes.identities:,} identities matched"
    bar = 60.0 * sizes.assets / Sizes().assets
    return [
        row(label, whole, "s", bar, at_most=True),
        row("time to match twice the assets", whole / half, "×", 2.3, at_most=True),
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
        await _merge(database, await source(database, name), _symbols(tickers, len(suffix), suffix))
    await database.execute("vacuum analyze registry.assets")
    suggestions = Suggestions(ground(database), Mappings(ground(database)))
    query = SuggestionQuery(source=CodeRef(CodeKind.PROVIDER, "left"), target=CodeRef(CodeKind.PROVIDER, "right"))
    spent = await median(lambda: suggestions.find(query))
    label = f"first page of suggestions, {sizes.suggested:,} × {sizes.suggested:,} assets, warm"
    return [row(label, spent, "ms", 300, at_most=True)]


async def _measure(sizes: Sizes) -> list[dict[str, Any]]:
    found = []
    async with market_database() as database:
        for part in (_merging, _matching, _suggesting):
            found += await part(database, sizes)
    return found


def rows(sizes: Sizes | None = None) -> list[dict[str, Any]]:
    """Return the figures."""
    return asyncio.run(_measure(sizes or Sizes()))


def main() -> int:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    for each in rows(QUICK if chosen.quick else None):
        print(json.dumps(each, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
