"""Runs the simulated market as an exchange that speaks Kraken's protocol: `python -m quasar.testing --port 9300`.

Faults are switched on while it runs: `curl -d '{"silent": true}' http://127.0.0.1:9300/faults`.
"""

from __future__ import annotations

import asyncio

import click

from quasar.providers.market import Market
from quasar.testing.kraken_exchanges import SimulatedExchange
from quasar.testing.kraken_server import KrakenServer
from quasar.testing.local_server import FAULTS


@click.command()
@click.option("--port", default=9300, show_default=True, help="TCP port on 127.0.0.1; 0: a free one.")
@click.option("--seed", default=1, show_default=True, help="Another seed is another market.")
@click.option("--pace", default=0.1, show_default=True, help="Seconds between two batches of live data.")
def main(port: int, seed: int, pace: float) -> None:
    """Run until it is interrupted."""
    asyncio.run(_serve(port, seed, pace))


async def _serve(port: int, seed: int, pace: float) -> None:
    async with KrakenServer(SimulatedExchange(Market(seed)), port=port, pace_s=pace) as server:
        click.echo(f"REST       {server.rest_url}/0/public/AssetPairs")
        click.echo(f"WebSocket  {server.websocket_url}")
        click.echo(f"faults     {server.rest_url}{FAULTS}")
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
