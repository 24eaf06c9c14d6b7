"""Who instruments are: manifests, periods of validity, look-ups."""

from __future__ import annotations
