"""A hundred clients that read and write the whole registry for a minute: what is broken afterwards, and what they got.

The clients, what they call and what must be true afterwards are those of the test (`tests/integration/registry/crowd`):
this is its full length. The server is a registry on a socket with a durable database, between played neighbours; server
and clients share this process, so the calls per second are a floor and have no bar.

Command: `python -m benchmarks.registry_clients` (a minute and a half), `--quick` for five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from quasar import logs
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.schema import prepare_schema
from quasar.secrets import SystemContext
from tests.integration.registry.crowd import CLIENTS, INVARIANTS, broken, crowded
from tests.integration.registry.stage import staged

SECONDS: Final = 60.0
QUICK_S: Final = 5.0


async def _measure(seconds: float) -> list[dict[str, Any]]:
    logs.configure(logs.LogOptions(service="bench", format="json", level="warning"))
    with tempfile.TemporaryDirectory(prefix="quasar-bench-") as name:
        folder = Path(name)
        file = folder / "system_context"
        context = SystemContext.load_or_create(file)
        async with EmbeddedPostgres(folder / "postgres") as server:
            await prepare_schema(server.url, context)
            async with staged(server.url, context, file, folder / "home") as stage:
                load = await crowded(stage, seconds)
                violated = await broken(stage)
    for rule, rows in violated.items():
        print(f"broken: {rule}: {rows[:3]}", file=sys.stderr)
    for error in load.strange[:10]:
        print(f"strange: {error.code().name}: {error.details()}", file=sys.stderr)
    label = f"{CLIENTS} clients that read and write for {seconds:.0f} s"
    answered = sum(count for name, count in load.answers.items() if ":" not in name)
    return [
        _row(f"{label}: broken ones of {len(INVARIANTS)} invariants", len(violated), "", none=True),
        _row(f"{label}: answers that are a defect", len(load.strange), "", none=True),
        _row(f"{label}: calls that were done", answered / seconds, "calls/s"),
        _row(f"{label}: all calls", load.answers.total() / seconds, "calls/s"),
    ]


def _row(name: str, value: float, unit: str, *, none: bool = False) -> dict[str, Any]:
    return {
        "issue": "registry",
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "bar": "= 0" if none else "",
        "holds": value == 0 if none else None,
    }


def rows(seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Return the figures."""
    return asyncio.run(_measure(seconds))


def main() -> int:
    """Print the figures as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    for row in rows(QUICK_S if parser.parse_args().quick else SECONDS):
        print(json.dumps(row, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
