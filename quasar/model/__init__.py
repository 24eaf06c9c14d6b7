"""Values of the domain: bars, ticks, intervals, instruments, money, coverage. Frozen, pure, free of I/O."""

from __future__ import annotations
