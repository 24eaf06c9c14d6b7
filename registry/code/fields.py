"""The typed preferences of a class: those that it declares and those that the platform gives to its kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from registry.code.refs import CodeKind

Value: TypeAlias = Any
"""A JSON value: None, a bool, a number, a text or a list of these."""

_EXACT = 2**53
_USUAL_LENGTH = 1000
_TYPE_PREFIX = "PREFERENCE_TYPE_"
_WORDS = {
    "INTEGER": "a whole number",
    "NUMBER": "a number",
    "STRING": "a text",
    "BOOLEAN": "true or false",
    "LIST": "a list",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceField:
    """One typed preference."""

    path: str
    type: str
    """INTEGER, NUMBER, STRING, BOOLEAN or LIST."""
    item_type: str = ""
    """Lists: the type of each item."""
    has_default: bool = False
    default: Value = None
    required: bool = False
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    max_length: int = 0
    allowed: tuple[Value, ...] = ()
    document: Mapping[str, Any]
    """The field as the manifest has it: what callers are shown."""

    def problem(self, value: Value) -> str | None:
        """Return what is wrong with a value, in words that follow its path; None when it is legal.

        Args:
            value: Anything but None, which takes a stored value away and so is always legal.
        """
        if self.type != "LIST":
            return self._item_problem(value, self.type)
        if not isinstance(value, list):
            return _must("be a list", value)
        if len(value) > (self.max_length or _USUAL_LENGTH):
            return f"must have at most {self.max_length or _USUAL_LENGTH} items, had {len(value)}"
        for item in value:
            if (problem := self._item_problem(item, self.item_type)) is not None:
                return f"must hold items that each {problem.removeprefix('must ')}"
        return None

    def normalised(self, value: Value) -> Value:
        """Return a legal value as it is stored: whole numbers without a fraction."""
        if self.type == "LIST":
            return [_whole(item) if self.item_type == "INTEGER" else item for item in value]
        return _whole(value) if self.type == "INTEGER" else value

    def _item_problem(self, value: Value, kind: str) -> str | None:
        if not _has_type(value, kind):
            return _must(f"be {_WORDS.get(kind, 'a value')}", value)
        if self.allowed and value not in self.allowed:
            return _must(f"be one of {', '.join(_shown(one) for one in self.allowed)}", value)
        if kind in ("INTEGER", "NUMBER"):
            return self._bounds_problem(value)
        if kind == "STRING" and self.type == "STRING" and len(value) > (self.max_length or _USUAL_LENGTH):
            return f"must have at most {self.max_length or _USUAL_LENGTH} characters, had {len(value)}"
        return None

    def _bounds_problem(self, value: float) -> str | None:
        low, high = self.minimum, self.maximum
        if (low is None or value >= low) and (high is None or value <= high):
            return None
        if low is not None and high is not None:
            return _must(f"be between {_shown(low)} and {_shown(high)}", value)
        return _must(f"be at least {_shown(low)}" if high is None else f"be at most {_shown(high)}", value)


def field_of(document: Mapping[str, Any]) -> PreferenceField:
    """Read a field of a stored manifest."""
    return PreferenceField(
        path=str(document["path"]),
        type=str(document.get("type", "")).removeprefix(_TYPE_PREFIX),
        item_type=str(document.get("item_type", "")).removeprefix(_TYPE_PREFIX),
        has_default="default_value" in document,
        default=document.get("default_value"),
        required=bool(document.get("required", False)),
        nullable=bool(document.get("nullable", False)),
        minimum=_number(document.get("minimum")),
        maximum=_number(document.get("maximum")),
        max_length=int(document.get("max_length", 0)),
        allowed=tuple(document.get("allowed", ())),
        document=document,
    )


_QUOTE_CURRENCY = {
    "path": "crypto.preferred_quote_currency",
    "type": "PREFERENCE_TYPE_STRING",
    "default_value": None,
    "nullable": True,
    "max_length": 16,
    "description": "Of several pairs of one crypto asset the one quoted in this currency is preferred.",
    "platform": True,
}


def _integer(path: str, default: int, low: int, high: int, unit: str, description: str) -> dict[str, Any]:
    return {
        "path": path,
        "type": "PREFERENCE_TYPE_INTEGER",
        "default_value": default,
        "minimum": float(low),
        "maximum": float(high),
        "unit": unit,
        "description": description,
        "platform": True,
    }


_WITHOUT_EFFECT = "Without effect: a live feed listens all the time"
_BY_CAPABILITY: Mapping[str, tuple[dict[str, Any], ...]] = {
    "HISTORICAL": (
        _integer("scheduling.delay_hours", 0, 0, 24, "hours", "Bars are fetched this long after they close."),
        _integer("data.lookback_days", 8000, 1, 8000, "days", "How far back the history of a new series begins."),
    ),
    "LIVE": (
        # Both are of systems that listened for single bars; they stay legal, so that stored settings can be sent again.
        _integer(
            "scheduling.pre_close_seconds", 30, 0, 300, "seconds", f"{_WITHOUT_EFFECT}, also before a bar closes."
        ),
        _integer(
            "scheduling.post_close_seconds",
            5,
            0,
            60,
            "seconds",
            f"{_WITHOUT_EFFECT}, and a trade that comes after its bar closed revises the bar.",
        ),
    ),
    "INDEX": (
        {
            "path": "scheduling.sync_frequency",
            "type": "PREFERENCE_TYPE_STRING",
            "default_value": "1w",
            "allowed": ["1d", "1w", "1M"],
            "description": "How often the members of the provider's indices are read.",
            "platform": True,
        },
    ),
}


def platform_fields(kind: CodeKind, capabilities: Iterable[str]) -> tuple[PreferenceField, ...]:
    """Return the fields that the platform gives to code of a kind with these capabilities."""
    documents: list[dict[str, Any]] = []
    if kind is not CodeKind.STRATEGY:
        documents.append(_QUOTE_CURRENCY)
    if kind is CodeKind.PROVIDER:
        had = frozenset(capabilities)
        documents += [document for name, group in _BY_CAPABILITY.items() if name in had for document in group]
    return tuple(field_of(document) for document in documents)


def schema(
    kind: CodeKind, capabilities: Iterable[str], declared: Iterable[PreferenceField]
) -> tuple[PreferenceField, ...]:
    """Return all fields that code takes: the platform's, then its own.

    A class that declares one of the platform's fields itself (for another default, say) has its own declaration.
    """
    own = {field.path: field for field in declared}
    given = tuple(own.pop(field.path, field) for field in platform_fields(kind, capabilities))
    return (*given, *own.values())


def _has_type(value: Value, kind: str) -> bool:
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind == "STRING":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "NUMBER" or (kind == "INTEGER" and value == int(value) and abs(value) <= _EXACT)


def _whole(value: float) -> int:
    return int(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _must(rule: str, value: Value) -> str:
    return f"must {rule}, was {_shown(value)}"


def _shown(value: Value) -> str:
    """Return a value as people write it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return str(int(value))
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
