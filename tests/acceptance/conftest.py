"""Installations of the platform for tests that run it as an operator does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An empty home on free ports; nothing of it runs after the test."""
    made = Installation.at(tmp_path / "home")
    yield made
    made.end()
