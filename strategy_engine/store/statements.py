"""The named statements of this service."""

from __future__ import annotations

from typing import Final

from quasar.database.statements import load_statements

SQL: Final = load_statements("strategy_engine.store")
"""The statements of the StrategyEngine by name."""
