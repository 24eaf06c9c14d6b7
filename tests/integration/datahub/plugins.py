"""Providers as their authors write them, for tests that run them in processes of their own."""

from __future__ import annotations

STEADY = b'''
import asyncio

from quasar.provider import Bar, Provider, UnknownSymbol

MINUTE = 60_000_000_000


class Steady(Provider):
    """Every minute has a bar; BAD is unknown, SLOW takes its time."""

    name = "steady"
    intervals = ("1min",)
    calendar = "24/7"

    async def bars(self, request):
        if request.symbol == "BAD":
            raise UnknownSymbol("nobody lists BAD")
        for number, time in enumerate(range(request.start_ns, request.end_ns, MINUTE)):
            price = 100.0 + time // MINUTE % 50
            if request.symbol == "SLOW" and number % 100 == 99:
                await asyncio.sleep(0.4)
            yield Bar(time, price, price + 1, price - 1, price, 7.0)
'''

MANIFEST = {
    "name": "steady",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Steady",
    "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL"],
    "intervals": ["1min"],
    "default_calendar": "24/7",
}
