"""The statements of the registry by name."""

from __future__ import annotations

from quasar.database.statements import load_statements

SQL = load_statements("registry.store")
