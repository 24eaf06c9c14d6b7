"""The rows of a manifest, checked one by one before any of it is stored."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from quasar.model.asset_classes import normalise_asset_class
from registry.assets.groups import CLASSES, group_of
from registry.assets.symbols import identity_key, name_key
from registry.identities.check_digits import cusip_problem, figi_problem, isin_problem

FIELDS: Final = (
    "figi",
    "composite_figi",
    "share_class_figi",
    "isin",
    "cusip",
    "exchange",
    "symbol",
    "name",
    "class",
    "currency",
    "country",
    "valid_from",
    "valid_to",
)
"""What a manifest may say of an identity."""
ALIASES_OF_FIELDS: Final[Mapping[str, str]] = {
    "mic": "exchange",
    "asset_class": "class",
    "compositefigi": "composite_figi",
    "shareclassfigi": "share_class_figi",
    "shareclass_figi": "share_class_figi",
    "isin_code": "isin",
    "country_code": "country",
}
"""Other names that a column may have."""

_MIC: Final = re.compile(r"[A-Z0-9]{4}")
_LONGEST_SYMBOL: Final = 200
_LONGEST_NAME: Final = 500
_KEPT_VALUE: Final = 200


class IdentityRow(NamedTuple):
    """A checked row in the form in which it is stored. A tuple, for manifests hold hundreds of thousands of them."""

    identity_id: str
    figi: str | None
    composite_figi: str | None
    share_class_figi: str | None
    isin: str | None
    cusip: str | None
    exchange: str
    symbol: str
    name: str
    asset_class: str
    identity_group: str
    currency: str
    country: str
    valid_from: dt.datetime | None
    valid_to: dt.datetime | None
    aliases: list[str]
    match_key: str
    name_key: str


@dataclass(frozen=True, slots=True)
class RejectedIdentity:
    """A row that was not taken."""

    line: int
    field: str
    """The field that is wrong; empty when it is the row as a whole."""
    value: str
    message: str


class _Refused(Exception):
    """A row cannot be taken."""

    def __init__(self, name: str, value: str, message: str) -> None:
        super().__init__(message)
        self.field, self.value, self.message = name, value[:_KEPT_VALUE], message


@dataclass(slots=True)
class ManifestReader:
    """Reads the rows of one manifest: remembers which came already and why rows were refused."""

    default_class: str = ""
    """The class of rows that name none; empty: such rows are refused."""
    rows: list[IdentityRow] = field(default_factory=list)
    rejections: list[RejectedIdentity] = field(default_factory=list)
    read: int = 0
    _lines: dict[tuple[str, str, str, dt.datetime | None], int] = field(default_factory=dict)

    def take(self, entries: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """Read rows, each with its line and its values by field; what is absent is empty."""
        for line, values in entries:
            self.read += 1
            try:
                row = self._row(values)
                self._require_new(line, row)
            except _Refused as refused:
                self.rejections.append(RejectedIdentity(line, refused.field, refused.value, refused.message))
            else:
                self.rows.append(row)

    def refuse(self, line: int, message: str) -> None:
        """Note a row that could not be read at all."""
        self.read += 1
        self.rejections.append(RejectedIdentity(line, "", "", message))

    def _require_new(self, line: int, row: IdentityRow) -> None:
        key = (row.identity_id, row.exchange, row.symbol, row.valid_from)
        first = self._lines.setdefault(key, line)
        if first != line:
            raise _Refused("", row.identity_id, f"must be there once, was in line {first} already")

    def _row(self, values: Mapping[str, str]) -> IdentityRow:
        for name, text in values.items():
            if "\x00" in text:
                raise _Refused(name, text.replace("\x00", "\N{SYMBOL FOR NULL}"), "must not contain the character NUL")
        symbol, aliases = _symbols(values.get("symbol", ""))
        exchange = _exchange(values.get("exchange", ""))
        figi = _identifier(values, "figi", figi_problem)
        composite = _identifier(values, "composite_figi", figi_problem)
        share_class = _identifier(values, "share_class_figi", figi_problem)
        isin = _identifier(values, "isin", isin_problem)
        asset_class = self._class(values.get("class", ""))
        valid_from = _day(values, "valid_from")
        valid_to = _day(values, "valid_to")
        if valid_from and valid_to and valid_from >= valid_to:
            raise _Refused(
                "valid_to", values.get("valid_to", ""), f"must be after valid_from, which is {valid_from:%Y-%m-%d}"
            )
        name = " ".join(values.get("name", "").split())[:_LONGEST_NAME]
        return IdentityRow(
            _identity_id(figi, isin, composite or share_class, exchange),
            figi,
            composite,
            share_class,
            isin,
            _identifier(values, "cusip", cusip_problem),
            exchange,
            symbol,
            name,
            asset_class,
            group_of(asset_class),
            values.get("currency", "").strip()[:32],
            _country(values.get("country", "")),
            valid_from,
            valid_to,
            aliases,
            identity_key(symbol, asset_class),
            name_key(name),
        )

    def _class(self, text: str) -> str:
        found = normalise_asset_class(text) or self.default_class
        if not found:
            raise _Refused("class", "", "must be set, or the import must name a default class")
        if found not in CLASSES or not group_of(found):
            raise _Refused("class", text, f"must be a class that has identities, was {text[:80]!r}")
        return found


def _symbols(text: str) -> tuple[str, list[str]]:
    """Return the symbol and its aliases: `BTC;XBT` has the alias `XBT`."""
    parts = [part.strip() for part in text.split(";")]
    symbol = parts[0]
    if not symbol:
        raise _Refused("symbol", text, "must not be blank")
    if any(len(part) > _LONGEST_SYMBOL for part in parts):
        raise _Refused("symbol", text, f"must have at most {_LONGEST_SYMBOL} characters")
    return symbol, sorted({part.upper() for part in parts[1:] if part} - {symbol.upper()})


def _exchange(text: str) -> str:
    exchange = text.strip().upper()
    if exchange and not _MIC.fullmatch(exchange):
        raise _Refused("exchange", text, f"must be a MIC of four letters or digits, was {text[:80]!r}")
    return exchange


def _identifier(values: Mapping[str, str], name: str, problem_of: Callable[[str], str | None]) -> str | None:
    text = values.get(name, "").strip().upper()
    if not text:
        return None
    problem = problem_of(text)
    if problem is not None:
        raise _Refused(name, text, problem)
    return text


def _identity_id(figi: str | None, isin: str | None, wider: str | None, exchange: str) -> str:
    """Return the identity: the listing's FIGI, else what is known of it with the exchange that makes it one listing."""
    if figi:
        return figi
    known = isin or wider
    if not known:
        raise _Refused("", "", "must have a FIGI or an ISIN")
    return f"{known}@{exchange}" if exchange else known


def _country(text: str) -> str:
    """Return a country code; names of countries are not codes and are left out."""
    code = text.strip().upper()
    return code if len(code) == 2 and code.isalpha() else ""


def _day(values: Mapping[str, str], name: str) -> dt.datetime | None:
    """Return midnight UTC of a date; None where there is none."""
    text = values.get(name, "").strip()
    if not text:
        return None
    try:
        day = dt.date.fromisoformat(text[:10])
    except ValueError:
        raise _Refused(name, text, f"must be a date such as 2026-01-31, was {text[:80]!r}") from None
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
