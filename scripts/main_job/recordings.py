"""What the vendors of the main job show, and how what came out is held against it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quasar.model.bars import BarColumns
from quasar.providers.files import read_bars
from quasar.testing.vendors import EodhdServer, KrakenServer

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("QUASAR_TEST_DATA") or ROOT.parent / "shared" / "data")
TRUTH = DATA.parent / "truth" / "goog_sma_next_open.json"
EODHD_TOKEN = "not-a-real-token"  # the local server takes this one
SEED = 1


class Failed(Exception):
    """What came out is not what must come out."""


def must(holds: bool, words: str) -> None:
    """Fail unless something holds."""
    if not holds:
        raise Failed(f"must hold: {words}")


def same(found: object, wanted: object, noun: str) -> None:
    """Fail unless two values are equal."""
    if found != wanted:
        raise Failed(f"{noun} must be {wanted}, was {found}")


@dataclass
class Recordings:
    """The recorded data, as the vendors' servers show it."""

    eodhd: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    goog: BarColumns = field(default_factory=BarColumns.empty)
    xrp: BarColumns = field(default_factory=BarColumns.empty)

    @classmethod
    def read(cls, folder: Path) -> Recordings:
        """Read them, and lay the candles into a folder for the provider `files`."""
        folder.mkdir()
        goog, xrp = folder / "GOOG-1d.csv", folder / "XRP_ETH-5min.feather"
        shutil.copy(DATA / "ohlcv/backtesting/GOOG.csv", goog)
        shutil.copy(DATA / "ohlcv/freqtrade/XRP_ETH-5m.feather", xrp)
        listed = {"Code": "AAPL", "Exchange": "NASDAQ", "Type": "Common Stock", "Name": "Apple Inc", "Currency": "USD"}
        return cls(
            {
                "eod/BHP.AU": _body("eodhd/eod_BHP.AU.http.json.gz"),
                "intraday/AAPL.US": _body("eodhd/intraday5m_AAPL.US_2025-06-07.http.json.gz"),
                "exchange-symbol-list/AU": _body("eodhd/exchange-symbol-list_AU_earlier.http.json.gz"),
                "exchange-symbol-list/US": [listed],
            },
            read_bars(goog),
            read_bars(xrp),
        )


def _body(path: str) -> list[dict[str, Any]]:
    rows = json.loads(json.loads(gzip.decompress((DATA / path).read_bytes()))["response"]["body"])
    must(isinstance(rows, list), f"{path} holds rows")
    return list(rows)


@dataclass(frozen=True)
class World:
    """What the platform collects from."""

    recordings: Recordings
    folder: Path
    """Where the candles are."""
    kraken: KrakenServer
    eodhd: EodhdServer
