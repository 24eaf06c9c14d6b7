"""Trading calendars: exchanges, spot currencies, and markets that never close.

`calendar_for` names the calendar of a market; nothing is loaded before the first question. Importing this package does
not import pandas.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from quasar.calendars.calendar import Calendar
from quasar.calendars.exchange import exchange_sessions
from quasar.calendars.forex import forex_sessions
from quasar.calendars.names import ALWAYS, FOREX, calendar_name
from quasar.model.asset_classes import AssetClass
from quasar.model.instants import NS_PER_DAY
from quasar.model.sessions import Sessions, SlotAnchor

__all__ = ["ALWAYS", "FOREX", "Calendar", "Sessions", "SlotAnchor", "calendar_for", "calendar_name"]


def calendar_for(exchange: str | None, asset_class: AssetClass | None = None) -> Calendar:
    """Return the calendar of a market; the same object for the same calendar.

    Args:
        exchange: A MIC, an exchange's name or a vendor's code.
        asset_class: What is traded. Crypto is always open; currencies without a known exchange follow `XFX`.

    Returns:
        The calendar. Where neither argument says which one, a calendar that is always open and has `known` False.
    """
    if asset_class is AssetClass.CRYPTO:
        return _calendar(ALWAYS)
    name = calendar_name(exchange)
    if name is None and asset_class is AssetClass.CURRENCY:
        name = FOREX
    return _calendar(name)


@lru_cache(maxsize=256)
def _calendar(name: str | None) -> Calendar:
    if name is None:
        return Calendar(ALWAYS, _utc_days, known=False, always_open=True)
    if name == ALWAYS:
        return Calendar(ALWAYS, _utc_days, always_open=True)
    return Calendar(name, forex_sessions if name == FOREX else partial(exchange_sessions, name))


def _utc_days(first_ns: int, end_ns: int) -> Sessions:
    days = np.arange(first_ns, end_ns, NS_PER_DAY, dtype=np.int64)
    return Sessions.without_breaks(days, days, days + NS_PER_DAY)
