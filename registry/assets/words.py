"""The words of the contract for states and methods, as filters write them."""

from __future__ import annotations

from registry.assets.groups import CLASSES, GROUPS

STATES = ("LISTED", "VANISHED")
IDENTITY_STATES = ("UNIDENTIFIED", "PROPOSED", "IDENTIFIED", "NOT_APPLICABLE")
ORIGINS = ("", "MATCHER", "PROVIDER", "MANUAL")
METHODS = ("", "PROVIDER_ID", "EXACT_SYMBOL", "EXACT_ALIAS", "FUZZY_SYMBOL", "MANUAL")
KINDS = ("provider", "broker")
TRUTH = ("false", "true")

_PREFIXES = (
    "ASSET_CLASS_",
    "ASSET_STATE_",
    "IDENTITY_STATE_",
    "IDENTITY_ORIGIN_",
    "IDENTITY_GROUP_",
    "MATCH_METHOD_",
    "CODE_KIND_",
)


def word(text: str) -> str:
    """Return a word of an enum in upper case, without the prefix of the contract; `UNSPECIFIED` is the empty word."""
    found = text.strip().upper()
    for prefix in _PREFIXES:
        found = found.removeprefix(prefix)
    return "" if found == "UNSPECIFIED" else found


def lower_word(text: str) -> str:
    """Return a word of an enum that is stored in lower case."""
    return word(text).lower()


__all__ = [
    "CLASSES",
    "GROUPS",
    "IDENTITY_STATES",
    "KINDS",
    "METHODS",
    "ORIGINS",
    "STATES",
    "TRUTH",
    "lower_word",
    "word",
]
