"""Run the benchmarks and print one table: `make bench`, or `make bench ONLY=live` for one group.

Each module with a function `rows()` gives rows; a row holds the figure, what it is measured against, their ratio and
the bar that the ratio (or the figure, where there is no peer) is to hold. Everything is written to
`benchmarks/results/latest.json`; groups that were not run keep their former rows there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

GROUPS: Final = {
    "foundation": ("unary", "startup"),
    "skeleton": ("ingest", "reads", "streams", "backtest", "strategy", "gateway"),
    "registry": ("registry", "registry_lists", "registry_clients"),
    "plugins": ("plugins",),
    "collection": ("ingest", "reads", "coverage", "collection"),
    "live": ("live", "live_stalled", "live_resume", "live_store"),
}
RESULTS = Path(__file__).parent / "results" / "latest.json"
_FIELDS: Final = ("issue", "name", "value", "unit", "against", "against_value", "ratio", "bar", "holds")


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=[*GROUPS, "all"], default="all", help="one group")
    chosen = parser.parse_args().only
    names = [name for group, modules in GROUPS.items() if chosen in (group, "all") for name in modules]
    rows: list[dict[str, Any]] = []
    failed = []
    for name in dict.fromkeys(names):
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            measured = [row for row in module.rows() if chosen in ("all", row["issue"])]
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        rows += measured
        print(f"  {len(measured)} rows in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    show(rows)
    write(rows)
    for name in failed:
        print(f"benchmark {name} failed; its error is above", file=sys.stderr)
    return 1 if failed else 0


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    lines = [("group", "figure", "value", "against", "its value", "ratio", "bar", "holds")]
    lines += [
        (
            row["issue"],
            row["name"],
            f"{_number(row['value'])} {row['unit']}",
            str(row.get("against") or "–"),
            _number(row.get("against_value")),
            _number(row.get("ratio")),
            str(row.get("bar") or "–"),
            {True: "yes", False: "NO"}.get(row.get("holds"), "–"),  # type: ignore[arg-type]  # None: no bar
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write(rows: list[dict[str, Any]]) -> None:
    """Write the results; rows of groups that were not measured now are kept."""
    RESULTS.parent.mkdir(exist_ok=True)
    measured = {row["issue"] for row in rows}
    kept = []
    if RESULTS.exists():
        kept = [row for row in json.loads(RESULTS.read_text())["rows"] if row["issue"] not in measured]
    clean = [{name: row.get(name) for name in _FIELDS} for row in rows]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": machine, "rows": kept + clean}, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
