"""The SQL of the registry, and thin typed access to it."""

from __future__ import annotations
