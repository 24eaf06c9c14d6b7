"""The event loop that back-test, paper and live trading share: bars and ticks in, orders out, exact money.

Pure Python and numpy: no network, no database, no event loop, because it runs inside the jailed process of a strategy.
"""

from __future__ import annotations
