"""The services of the registry as callers see them. Translation only."""

from __future__ import annotations
