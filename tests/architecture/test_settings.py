"""The page of settings lists every variable that a process reads, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from quasar.config import PARTS, SERVICES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("quasar", "registry", "datahub", "strategy_engine", "grpc_gateway", "tui")
VARIABLE = re.compile(r"\bQUASAR_[A-Z][A-Z_]*[A-Z]\b")
# What processes tell each other, what tests are told, and a stream of the bus that is spelled like a variable.
INNER = re.compile(r"QUASAR_(SUPERVISOR_PID|PLUGIN_.*|TEST_.*|LIVE|.*_FILE)")


def read_anywhere() -> set[str]:
    found = {part.port_variable for part in PARTS} | {part.address_variable for part in SERVICES}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found |= set(VARIABLE.findall(path.read_text(encoding="utf-8")))
    return {name for name in found if not INNER.fullmatch(name)}


def test_every_setting_stands_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    listed = {name for line in page.splitlines() if line.startswith("|") for name in VARIABLE.findall(line)}
    assert listed == read_anywhere()
