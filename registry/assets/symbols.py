"""The forms of a symbol and a name in which assets of different sources are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

# What vendors append to a ticker to name the market ("AAPL.US", "0A05.L", "BTC-USD.CC").
_SUFFIXES: Final = frozenset(
    [
        "AS",
        "ASX",
        "AT",
        "AU",
        "AX",
        "BA",
        "BE",
        "BK",
        "BO",
        "BR",
        "CA",
        "CC",
        "CN",
        "CO",
        "COMM",
        "DE",
        "DU",
        "F",
        "FOREX",
        "FX",
        "HA",
        "HE",
        "HK",
        "HM",
        "IC",
        "INDX",
        "IR",
        "IS",
        "JK",
        "JO",
        "JSE",
        "KL",
        "KO",
        "KQ",
        "KS",
        "L",
        "LS",
        "LSE",
        "MC",
        "ME",
        "MI",
        "MU",
        "MX",
        "NE",
        "NS",
        "NSE",
        "NYSE",
        "NASDAQ",
        "NZ",
        "OL",
        "OQ",
        "PA",
        "PK",
        "PR",
        "SA",
        "SG",
        "SHE",
        "SHG",
        "SI",
        "SN",
        "SR",
        "SS",
        "ST",
        "STU",
        "SW",
        "SZ",
        "T",
        "TA",
        "TO",
        "TSE",
        "TW",
        "TWO",
        "US",
        "V",
        "VI",
        "VX",
        "WA",
        "XETRA",
    ]
)
_ASSET_ALIASES: Final[Mapping[str, str]] = {
    "XBT": "BTC",
    "XDG": "DOGE",
    "XXBT": "BTC",
    "XETH": "ETH",
    "ZUSD": "USD",
    "ZEUR": "EUR",
}
_QUOTES: Final = frozenset(
    [
        "USD",
        "USDT",
        "USDC",
        "EUR",
        "GBP",
        "JPY",
        "CHF",
        "CAD",
        "AUD",
        "BTC",
        "XBT",
        "ETH",
        "BUSD",
        "DAI",
        "KRW",
        "TRY",
        "BRL",
    ]
)
_SEPARATORS: Final = re.compile(r"[^0-9A-Za-z\u0080-\U0010ffff]+")
_PAIR: Final = re.compile(r"^([^/\-_:]+)[/\-_:]([^/\-_:]+)$")
_WORDS: Final = re.compile(r"[^a-z0-9]+")


def canonical_currency(code: str) -> str:
    """Return a currency or crypto asset in upper case by its usual name (`XBT` is `BTC`)."""
    code = code.strip().upper()
    return _ASSET_ALIASES.get(code, code)


def without_market(symbol: str) -> str:
    """Return a ticker without the market that a vendor appends: `AAPL` of `AAPL.US`, `BRK.B` of `BRK.B.US`."""
    head, dot, tail = symbol.rpartition(".")
    return head if dot and head and tail.upper() in _SUFFIXES else symbol


def root_symbol(symbol: str, asset_class: str, base: str, quote: str) -> str:
    """Return the normalised root: `aapl` of `AAPL.US`, `btc` of `XBT/USD`, `eurusd` of `EUR/USD`, `brk.b` of `BRK-B`.

    Args:
        symbol: As the source writes it.
        asset_class: Canonical; empty when not known.
        base: What is bought, for pairs; empty when not known.
        quote: What it is paid in; empty when not known.
    """
    plain = without_market(symbol.strip())
    pair = _PAIR.match(plain)
    if asset_class == "currency":
        left, right = (base, quote) if base and quote else (pair[1], pair[2]) if pair else (plain, "")
        return (canonical_currency(left) + canonical_currency(right)).lower()
    if asset_class == "crypto" and base:
        return canonical_currency(base).lower()
    if pair and (asset_class == "crypto" or (not asset_class and pair[2].upper() in _QUOTES)):
        return canonical_currency(pair[1]).lower()
    if asset_class == "crypto":
        head = plain.upper().removesuffix(quote.upper()) if quote else plain
        return canonical_currency(head or plain).lower()
    return _SEPARATORS.sub(".", plain).strip(".").lower() or plain.lower()


def full_symbol(symbol: str) -> str:
    """Return a symbol without market and separators, in lower case: `btcusd` of `XBT/USD` and of `BTC-USD.CC`."""
    plain = without_market(symbol.strip())
    pair = _PAIR.match(plain)
    if pair and pair[2].upper() in _QUOTES:
        plain = canonical_currency(pair[1]) + canonical_currency(pair[2])
    return _SEPARATORS.sub("", plain).lower() or plain.lower()


def match_key(symbol: str, hint: str, asset_class: str, base: str, quote: str) -> str:
    """Return what is compared with the symbols of identities, in upper case.

    A crypto asset is identified by what is bought, a currency pair by both sides; everything else by the
    source's hint or its symbol.
    """
    if asset_class == "currency":
        return root_symbol(hint or symbol, asset_class, base, quote).upper()
    hint = hint.strip() if hint != symbol else ""
    if asset_class == "crypto":
        return canonical_currency(hint) if hint else root_symbol(symbol, asset_class, base, quote).upper()
    return (hint or symbol.strip()).upper()


def identity_key(symbol: str, asset_class: str) -> str:
    """Return the symbol of an identity in the form that `match_key` is compared with."""
    if asset_class == "currency":
        return root_symbol(symbol, asset_class, "", "").upper()
    return canonical_currency(symbol) if asset_class == "crypto" else symbol.strip().upper()


def name_key(name: str) -> str:
    """Return a name as similarities see it: lower case, without accents, letters beyond ASCII as words of their code.

    Databases differ in what they take for a letter; this form is the same everywhere.
    """
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKD", name.casefold())
    kept = (
        c if c.isascii() else f"x{ord(c):x}" if c.isalnum() else "" if unicodedata.combining(c) else " " for c in plain
    )
    return " ".join(_WORDS.sub(" ", "".join(kept)).split())
