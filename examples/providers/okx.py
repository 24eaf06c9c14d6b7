"""Another exchange of the library ccxt as a provider of its own, beside the built-in one."""

from __future__ import annotations

from quasar.provider import Preference
from quasar.providers.ccxt import Ccxt


class Okx(Ccxt):
    name = "okx"
    exchange = Preference("okx", description="The exchange, by ccxt's id.", needs_restart=True)
