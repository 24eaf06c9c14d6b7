"""Recorded market data, read from beside the repository and never copied into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recorded(path: str) -> Path:
    """Return a recorded file, or skip the test when the recordings are not there."""
    file = Path(os.environ.get("QUASAR_TEST_DATA", str(_DEFAULT))) / path
    if not file.exists():
        pytest.skip(f"recorded data {file} is absent; set QUASAR_TEST_DATA to its folder")
    return file
