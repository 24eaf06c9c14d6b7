"""Named sets of instruments with weights and a history."""

from __future__ import annotations
