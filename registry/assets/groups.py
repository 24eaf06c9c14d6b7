"""The name spaces in which assets are identified."""

from __future__ import annotations

from collections.abc import Mapping

SECURITIES = "securities"
CRYPTO = "crypto"
CURRENCY = "currency"
DERIVATIVES = "derivatives"
GROUPS = ("", SECURITIES, CRYPTO, CURRENCY, DERIVATIVES)
"""In the order of `quasar.registry.v1.IdentityGroup`; empty: the class has no identities."""

CLASSES = (
    "",
    "equity",
    "fund",
    "etf",
    "mutual_fund",
    "money_market",
    "bond",
    "preferred",
    "adr",
    "warrant",
    "right",
    "unit",
    "reit",
    "index",
    "currency",
    "crypto",
    "commodity",
    "future",
    "option",
    "cfd",
    "rate",
    "structured",
)
"""Asset classes in the order of `quasar.common.v1.AssetClass`; empty: not known."""

_GROUP: Mapping[str, str] = {
    **dict.fromkeys(CLASSES[1:14], SECURITIES),
    "structured": SECURITIES,
    "crypto": CRYPTO,
    "currency": CURRENCY,
    **dict.fromkeys(("future", "option", "cfd"), DERIVATIVES),
}


def group_of(asset_class: str) -> str:
    """Return the name space of a class; empty for a class unknown or without identities (commodities, rates)."""
    return _GROUP.get(asset_class, "")
