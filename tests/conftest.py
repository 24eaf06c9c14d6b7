"""What every test gets: a clean environment, and a real database for those that ask for one."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ("quasar.testing.database",)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests; `QUASAR_TEST_*` are for the tests themselves."""
    for name in list(os.environ):
        if name.startswith("QUASAR_") and not name.startswith("QUASAR_TEST_"):
            monkeypatch.delenv(name)
