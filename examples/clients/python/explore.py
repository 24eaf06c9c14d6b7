"""A week of minute bars and a few live trades as numpy columns: a notebook in the form of a script.

What: reads stored bars, computes what a notebook would plot, then follows the live stream and goes on after a cut.
Needs: a running platform with data (`quasar up`, `quasar demo`). Command: `python examples/clients/python/explore.py
[SYMBOL]`; each `# %%` is a cell for editors that know them.
"""

from __future__ import annotations

# %% Imports and settings
import asyncio
import os
import sys
from contextlib import aclosing

import numpy as np

from quasar.client.platform import Platform

PROVIDER = "simulated"
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "BTC/USD"
TRADES = 50


# %% History: one array for each column
async def history(quasar: Platform) -> None:
    bars = await quasar.bars_and_ticks.bars(f"{PROVIDER}:{SYMBOL}@1min")
    times = bars.open_time_ns.view("datetime64[ns]")
    print(f"{len(bars)} minutes of {SYMBOL}, {times[0]} to {times[-1]}")
    returns = np.diff(np.log(bars.close))
    print(f"volatility of a day: {returns.std() * np.sqrt(1440):.2%}")
    days = times.astype("datetime64[D]")
    for day in np.unique(days):
        rows = days == day
        low, high, volume = bars.low[rows].min(), bars.high[rows].max(), np.nansum(bars.volume[rows])
        print(f"  {day}  low {low:>10g}  high {high:>10g}  volume {volume:>12,.2f}")


# %% Live: ticks come in columns too; `follow` goes on by itself where a broken stream ended
async def live(quasar: Platform) -> None:
    seen = 0
    async with aclosing(quasar.bars_and_ticks.follow(PROVIDER, [SYMBOL])) as envelopes:
        async for envelope in envelopes:
            for status in envelope.statuses:
                print(f"{status.item} {status.state} {status.message}".rstrip())
            for gap in envelope.gaps:
                print(f"{gap.symbol}: a hole ({gap.cause}) is {gap.state}")
            ticks = envelope.ticks.get(SYMBOL)
            if ticks is None:
                continue
            seen += len(ticks)
            print(f"{seen:>5} trades, the last at {ticks.tick(-1).price:g}")
            if seen >= TRADES:
                return


# %% All of it
async def main() -> None:
    async with Platform.read(os.environ) as quasar:
        await quasar.ready()
        await history(quasar)
        await live(quasar)


asyncio.run(main())
