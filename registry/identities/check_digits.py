"""Check digits of securities identifiers.

Sources: FIGI: OMG "Financial Instrument Global Identifier" 1.0, section 6.1.2; ISIN: ISO 6166 annex C;
CUSIP: ANSI X9.6.
"""

from __future__ import annotations

import re
from typing import Final

_FIGI: Final = re.compile(r"[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]")
_FIGI_RESERVED: Final = frozenset(("BS", "BM", "GG", "GB", "GH", "KY", "VG"))
"""Prefixes that are never given, so that no FIGI looks like an ISIN."""
_ISIN: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_CUSIP: Final = re.compile(r"[A-Z0-9*@#]{8}[0-9]")
_VALUES: Final = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*@#")}


def figi_problem(text: str) -> str | None:
    """Return what is wrong with a FIGI, in words that follow its name; None when it is right."""
    if not _FIGI.fullmatch(text):
        return f"must be 12 characters like 'BBG000B9XRY4', was {text!r}"
    if text[:2] in _FIGI_RESERVED:
        return f"must not begin with {text[:2]}, was {text!r}"
    return _digit_problem(text, _modulus(text[:-1], first_doubled=False))


def isin_problem(text: str) -> str | None:
    """Return what is wrong with an ISIN, in words that follow its name; None when it is right."""
    if not _ISIN.fullmatch(text):
        return f"must be 12 characters like 'US0378331005', was {text!r}"
    digits = "".join(str(_VALUES[c]) for c in text[:-1])
    return _digit_problem(text, _modulus(digits, first_doubled=len(digits) % 2 == 1))


def cusip_problem(text: str) -> str | None:
    """Return what is wrong with a CUSIP, in words that follow its name; None when it is right."""
    if not _CUSIP.fullmatch(text):
        return f"must be 9 characters like '037833100', was {text!r}"
    return _digit_problem(text, _modulus(text[:-1], first_doubled=False))


def identifier_kind(text: str) -> str:
    """Return `figi` or `isin` for a text that is a right one, else an empty text."""
    if figi_problem(text) is None:
        return "figi"
    return "isin" if isin_problem(text) is None else ""


def _modulus(text: str, *, first_doubled: bool) -> int:
    """Return the check digit by the double-add-double method: every second value is doubled, the digits are added."""
    total = 0
    for place, character in enumerate(text):
        value = _VALUES[character] * (2 if (place % 2 == 0) == first_doubled else 1)
        total += value // 10 + value % 10
    return -total % 10


def _digit_problem(text: str, wanted: int) -> str | None:
    return None if text[-1] == str(wanted) else f"check digit must be {wanted}, was {text[-1]}"
