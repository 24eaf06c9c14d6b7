"""Which identity an asset has: exact and fuzzy matches, proposals."""

from __future__ import annotations
