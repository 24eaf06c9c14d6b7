"""The canonical classes of assets and the names that vendors use for them."""

from __future__ import annotations

from enum import StrEnum

from quasar.model.violations import violation


class AssetClass(StrEnum):
    """What kind of thing an asset is; the same list as `quasar.common.v1.AssetClass`."""

    EQUITY = "equity"
    FUND = "fund"
    ETF = "etf"
    MUTUAL_FUND = "mutual_fund"
    MONEY_MARKET = "money_market"
    BOND = "bond"
    PREFERRED = "preferred"
    ADR = "adr"
    WARRANT = "warrant"
    RIGHT = "right"
    UNIT = "unit"
    REIT = "reit"
    INDEX = "index"
    CURRENCY = "currency"
    CRYPTO = "crypto"
    COMMODITY = "commodity"
    FUTURE = "future"
    OPTION = "option"
    CFD = "cfd"
    RATE = "rate"
    STRUCTURED = "structured"


class AssetGroup(StrEnum):
    """The groups within which two assets can be the same thing."""

    CRYPTO = "crypto"
    SECURITIES = "securities"


ALIASES: dict[str, AssetClass] = {
    **dict.fromkeys(("stock", "stocks", "shares", "common_stock", "common", "ordinary"), AssetClass.EQUITY),
    **dict.fromkeys(("closed_end_fund", "cef", "trust"), AssetClass.FUND),
    **dict.fromkeys(("etn", "etp", "etc", "exchange_traded_fund", "bond_etf", "equity_etf"), AssetClass.ETF),
    **dict.fromkeys(("mutualfund", "open_end_fund"), AssetClass.MUTUAL_FUND),
    **dict.fromkeys(("mmf", "money_market_fund", "moneymarket"), AssetClass.MONEY_MARKET),
    **dict.fromkeys(("bonds", "fixed_income", "note", "treasury", "corporate_bond"), AssetClass.BOND),
    **dict.fromkeys(("preferred_stock", "preference", "pref", "adr_pref"), AssetClass.PREFERRED),
    **dict.fromkeys(("gdr", "depositary_receipt"), AssetClass.ADR),
    **dict.fromkeys(("warrants",), AssetClass.WARRANT),
    **dict.fromkeys(("rights", "subscription_right"), AssetClass.RIGHT),
    **dict.fromkeys(("units",), AssetClass.UNIT),
    **dict.fromkeys(("real_estate_investment_trust",), AssetClass.REIT),
    **dict.fromkeys(("indices", "indexes"), AssetClass.INDEX),
    **dict.fromkeys(("fx", "forex", "currencies", "currency_pair", "spot_fx"), AssetClass.CURRENCY),
    **dict.fromkeys(("cryptocurrency", "crypto_currency", "coin", "token", "spot_crypto"), AssetClass.CRYPTO),
    **dict.fromkeys(("commodities",), AssetClass.COMMODITY),
    **dict.fromkeys(("futures", "perp", "perpetual", "perpetual_future", "swap"), AssetClass.FUTURE),
    **dict.fromkeys(("options",), AssetClass.OPTION),
    **dict.fromkeys(("contract_for_difference",), AssetClass.CFD),
    **dict.fromkeys(("rates", "interest_rate"), AssetClass.RATE),
    **dict.fromkeys(("structured_product", "certificate"), AssetClass.STRUCTURED),
}
"""What vendors write → the canonical class; keys are lower case with underscores."""

_SECURITIES = frozenset(
    {
        AssetClass.EQUITY,
        AssetClass.FUND,
        AssetClass.ETF,
        AssetClass.MUTUAL_FUND,
        AssetClass.BOND,
        AssetClass.PREFERRED,
        AssetClass.WARRANT,
        AssetClass.ADR,
        AssetClass.INDEX,
    }
)


def normalise_asset_class(text: str | None) -> str | None:
    """Return the canonical code for what a vendor writes.

    Case, surrounding space, and the choice between space, hyphen and underscore do not matter.

    Args:
        text: For example " Fx ", "Common Stock" or "PERP".

    Returns:
        The canonical code; None when the text is None or blank; an unknown text in lower case.
    """
    key = "_".join((text or "").lower().replace("-", " ").replace("_", " ").split())
    if not key:
        return None
    known = ALIASES.get(key)
    return known.value if known else key


def parse_asset_class(text: str | None, field: str = "asset_class") -> AssetClass | None:
    """Return the class that a text names.

    Args:
        text: A canonical code or an alias.
        field: The name used in the error.

    Returns:
        The class, or None when the text is None or blank.

    Raises:
        InvalidArgument: The text names no class.
    """
    code = normalise_asset_class(text)
    if code is None:
        return None
    try:
        return AssetClass(code)
    except ValueError:
        raise violation(field, f"one of {', '.join(AssetClass)}", text) from None


def group_of(asset_class: AssetClass | None) -> AssetGroup | None:
    """Return the group within which the asset can be identified, or None for classes that never are."""
    if asset_class is AssetClass.CRYPTO:
        return AssetGroup.CRYPTO
    return AssetGroup.SECURITIES if asset_class in _SECURITIES else None
