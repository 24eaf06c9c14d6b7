"""Recorded identity data for tests: real equities, market codes and index members."""

from __future__ import annotations

import csv
import gzip
import json
from typing import Any

from tests.unit.recorded import recorded


def equities_file() -> bytes:
    """The manifest as it lies there: CSV, gzip-compressed."""
    return recorded("identity/financedatabase_equities.csv.gz").read_bytes()


def equities() -> list[dict[str, str]]:
    """19,508 equities."""
    with gzip.open(recorded("identity/financedatabase_equities.csv.gz"), "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def market_codes() -> list[str]:
    """Every MIC of ISO 10383."""
    with gzip.open(recorded("identity/iso10383_mic.csv.gz"), "rt", encoding="utf-8") as file:
        return [row["mic"] for row in csv.DictReader(file)]


def index_members() -> dict[str, list[dict[str, Any]]]:
    """The members of eight indices."""
    with gzip.open(recorded("identity/index_constituents_pytickersymbols.json.gz"), "rt", encoding="utf-8") as file:
        found: dict[str, list[dict[str, Any]]] = json.load(file)
    return found
