"""Fetches bars through the library ccxt, in the jail, from a host that has a name: `python resolving.py HOST PORT`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.provider import BarRequest
from quasar.providers import BUILTIN

MINUTE_NS = 60_000_000_000


async def fetch(host: str, port: int) -> int:
    """Return how many bars came."""
    code = CodeVersion(
        kind=Kind.PROVIDER,
        name="ccxt",
        builtin=BUILTIN["ccxt"],
        preferences={"rest_url": f"http://{host}:{port}", "pace": 1},
    )
    end = time.time_ns() // MINUTE_NS * MINUTE_NS
    with tempfile.TemporaryDirectory() as folder:
        async with PluginPool(Path(folder) / "code") as pool:
            provider = await pool.provider(code)
            request = BarRequest("BTC/USD", "1min", end - 30 * MINUTE_NS, end)
            rows = 0
            async for batch in provider.fetch_bars([request]):
                if batch.error is not None:
                    raise batch.error
                rows += len(batch.columns) if batch.columns is not None else 0
    return rows


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(fetch(sys.argv[1], int(sys.argv[2])))} bars\n")
