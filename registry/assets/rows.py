"""What a source says about its symbols, checked row by row before any of it is stored."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from registry.assets.groups import CLASSES, group_of
from registry.assets.symbols import full_symbol, match_key, name_key, root_symbol
from registry.identities.check_digits import identifier_kind

LONGEST_SYMBOL: Final = 200
_LONGEST_NAME: Final = 500
_TEXTS: Final = ("external_id", "matcher_symbol", "exchange", "base_currency", "quote_currency", "country")
"""What is stored as it is told, but for blanks around it."""


class SourceSymbol(NamedTuple):
    """A symbol as a provider or broker tells it; what it does not tell is empty or None.

    A tuple and no dataclass: a sync makes hundreds of thousands of them, and a frozen dataclass costs four
    times as much to make.
    """

    symbol: str
    external_id: str = ""
    primary_id: str = ""
    matcher_symbol: str = ""
    name: str = ""
    exchange: str = ""
    asset_class: str = ""
    """Canonical; empty when not known; anything else is refused."""
    base_currency: str = ""
    quote_currency: str = ""
    country: str = ""
    price_increment: Decimal | None = None
    size_increment: Decimal | None = None
    minimum_size: Decimal | None = None
    minimum_notional: Decimal | None = None
    multiplier: Decimal | None = None
    expires_at: dt.datetime | None = None


class AssetRow(NamedTuple):
    """A checked row in the form in which it is stored. A tuple for the same reason."""

    symbol: str
    external_id: str
    source_identity: str
    matcher_symbol: str
    name: str
    exchange: str
    asset_class: str
    base_currency: str
    quote_currency: str
    country: str
    root_symbol: str
    full_symbol: str
    match_key: str
    name_key: str
    identity_group: str
    price_increment: Decimal | None
    size_increment: Decimal | None
    minimum_size: Decimal | None
    minimum_notional: Decimal | None
    multiplier: Decimal | None
    expires_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not taken."""

    symbol: str
    position: int
    """In what the source sent, from 1."""
    message: str


@dataclass(slots=True)
class RowReader:
    """Reads the rows of one answer of a source: remembers what came already and why rows were refused."""

    seen: set[str] = field(default_factory=set)
    """Symbols that were taken."""
    mentioned: set[str] = field(default_factory=set)
    """Symbols of refused rows: the source lists them, so that they have not vanished."""
    received: int = 0
    rejected: int = 0
    rejections: list[RejectedRow] = field(default_factory=list)
    """The first `KEPT` refused rows."""
    strange_ids: int = 0
    """Identifiers that are neither a FIGI nor an ISIN; their rows are taken without them."""
    strange_id: str = ""
    """The first of them."""

    def read(self, symbols: Iterable[SourceSymbol]) -> list[AssetRow]:
        """Return the good rows of a page."""
        rows = []
        for told in symbols:
            self.received += 1
            symbol = told.symbol.strip()
            if (problem := self._problem(symbol, told)) is not None:
                self.refuse(told.symbol, problem)
                continue
            self.seen.add(symbol)
            rows.append(self._row(symbol, told))
        return rows

    def refuse(self, symbol: str, message: str) -> None:
        """Note a row that is not taken."""
        self.rejected += 1
        self.mentioned.add(symbol.strip())
        if len(self.rejections) < KEPT:
            self.rejections.append(RejectedRow(symbol[:LONGEST_SYMBOL], self.received, message))

    def _problem(self, symbol: str, told: SourceSymbol) -> str | None:
        if not symbol:
            return "symbol must not be blank"
        if len(symbol) > LONGEST_SYMBOL:
            return f"symbol must have at most {LONGEST_SYMBOL} characters, had {len(symbol)}"
        if not symbol.isprintable() and any(unicodedata.category(c) == "Cc" for c in symbol):
            return f"symbol must have no control characters, was {symbol[:80]!r}"
        if symbol in self.seen:
            return f"symbol must come once, came again: {symbol[:80]!r}"
        if told.asset_class not in CLASSES:
            return f"asset_class must be one of {', '.join(CLASSES[1:])}, was {told.asset_class[:80]!r}"
        together = "".join(told[1:10])
        return _text_problem(told) if len(together) > LONGEST_SYMBOL or "\0" in together else None

    def _row(self, symbol: str, told: SourceSymbol) -> AssetRow:
        name = " ".join(told.name.split())[:_LONGEST_NAME]
        base, quote = told.base_currency.strip().upper(), told.quote_currency.strip().upper()
        hint = told.matcher_symbol.strip()
        kind = told.asset_class
        return AssetRow(
            symbol,
            told.external_id,
            self._identity(told.primary_id),
            hint or symbol,
            name,
            told.exchange.strip().upper(),
            kind,
            base,
            quote,
            told.country.strip().upper(),
            root_symbol(symbol, kind, base, quote),
            full_symbol(symbol),
            match_key(symbol, hint, kind, base, quote),
            name_key(name),
            group_of(kind),
            told.price_increment,
            told.size_increment,
            told.minimum_size,
            told.minimum_notional,
            told.multiplier,
            told.expires_at,
        )

    def _identity(self, primary_id: str) -> str:
        text = primary_id.strip().upper()
        if not text or identifier_kind(text):
            return text
        self.strange_ids += 1
        self.strange_id = self.strange_id or primary_id[:80]
        return ""


def _text_problem(told: SourceSymbol) -> str | None:
    """Return what is wrong with a text: the database takes no NUL, and an index no text of any length."""
    if "\0" in told.name:
        return f"name must have no NUL character, was {told.name[:80]!r}"
    for field_ in _TEXTS:
        value = getattr(told, field_)
        if "\0" in value:
            return f"{field_} must have no NUL character, was {value[:80]!r}"
        if len(value) > LONGEST_SYMBOL:
            return f"{field_} must have at most {LONGEST_SYMBOL} characters, had {len(value)}"
    return None


KEPT: Final = 1000
"""How many refused rows a report holds."""
