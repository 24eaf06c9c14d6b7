"""Vendors played by local servers that speak the vendor's own protocol, for tests and demonstrations.

    async with KrakenServer(SimulatedExchange()) as server:
        preferences = {"rest_url": server.rest_url, "websocket_url": server.websocket_url}

`KrakenServer` speaks Kraken's REST and WebSocket v2 over any `Exchange`: a simulated market, or a recording.
`EodhdServer` and `DatabentoServer` answer with recordings, `Cci30Server` with pages in the shape of the vendor's.
Faults are switched on by `server.faults` while the server runs.
"""

from __future__ import annotations

from quasar.testing.cci30_server import Cci30Server
from quasar.testing.databento_server import DatabentoServer
from quasar.testing.eodhd_server import DEMO_TOKEN, EodhdServer
from quasar.testing.kraken_exchanges import Exchange, RecordedExchange, SimulatedExchange
from quasar.testing.kraken_server import KrakenServer
from quasar.testing.local_server import Faults, LocalServer

__all__ = [
    "DEMO_TOKEN",
    "Cci30Server",
    "DatabentoServer",
    "EodhdServer",
    "Exchange",
    "Faults",
    "KrakenServer",
    "LocalServer",
    "RecordedExchange",
    "SimulatedExchange",
]
