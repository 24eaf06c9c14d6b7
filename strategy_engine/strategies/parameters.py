"""Parameters of a strategy, checked against the fields of its manifest before anything runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from quasar.errors import FieldViolation, InvalidArgument

_PREFIX: Final = "PREFERENCE_TYPE_"
_WORDS: Final = {
    "INTEGER": "a whole number",
    "NUMBER": "a number",
    "STRING": "a text",
    "BOOLEAN": "true or false",
    "LIST": "a list",
}
_LONGEST: Final = 1_000
"""Characters of a text whose field does not say."""

Field = Mapping[str, Any]
"""The JSON form of the contract's `PreferenceField`."""


def completed(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the defaults of a manifest.

    Raises:
        InvalidArgument: Parameters are unknown, of another type or out of bounds; one violation for each, by its path.
    """
    fields = {field["path"]: field for field in manifest.get("preferences", ()) if "path" in field}
    if found := list(_violations(fields, given)):
        text = "; ".join(f"{each.field} {each.description}" for each in found)
        raise InvalidArgument(f"{text}.", violations=found)
    defaults = {path: field["default_value"] for path, field in fields.items() if "default_value" in field}
    return {**defaults, **given}


def _violations(fields: Mapping[str, Field], given: Mapping[str, Any]) -> Iterator[FieldViolation]:
    for name in sorted(given):
        if name not in fields:
            problem = f"must be among {', '.join(sorted(fields)) or 'none'}, was {name}"
        else:
            problem = _problem(fields[name], given[name])
        if problem:
            yield FieldViolation(f"parameters.{name}", problem)


def _problem(field: Field, value: Any) -> str:
    """Return what is wrong with a value, in words that follow its path; empty when it is legal."""
    kind = str(field.get("type", "")).removeprefix(_PREFIX)
    if value is None and field.get("nullable"):
        return ""
    number = _number_of(field, kind, value)
    if number is None and (_is_decimal(field, kind) or not _has_type(kind, value)):
        return f"must be {'a number' if _is_decimal(field, kind) else _WORDS[kind]}, was {value!r}"
    allowed = field.get("allowed", ())
    if allowed and value not in allowed:
        return f"must be one of {', '.join(map(str, allowed))}, was {value!r}"
    if number is not None:
        return _bounds_problem(field, number)
    longest = field.get("max_length") or _LONGEST
    if isinstance(value, str | list) and len(value) > longest:
        return f"must have at most {longest} {'characters' if isinstance(value, str) else 'items'}, had {len(value)}"
    return ""


def _has_type(kind: str, value: Any) -> bool:
    if kind in ("INTEGER", "NUMBER"):
        plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return plain and (kind == "NUMBER" or value == int(value))
    types = {"STRING": str, "BOOLEAN": bool, "LIST": list}
    return kind not in types or isinstance(value, types[kind])


def _number_of(field: Field, kind: str, value: Any) -> Decimal | None:
    """Return the value as a number where it is one."""
    if kind in ("INTEGER", "NUMBER"):
        return Decimal(repr(value)) if _has_type(kind, value) else None
    if not _is_decimal(field, kind) or isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _is_decimal(field: Field, kind: str) -> bool:
    """Tell whether a field is declared as a bounded decimal, which travels as a text."""
    return kind == "STRING" and ("minimum" in field or "maximum" in field)


def _bounds_problem(field: Field, value: Decimal) -> str:
    low, high = (None if name not in field else Decimal(repr(field[name])) for name in ("minimum", "maximum"))
    if low is not None and value < low:
        return f"must be at least {low.normalize():f}, was {value:f}"
    if high is not None and value > high:
        return f"must be at most {high.normalize():f}, was {value:f}"
    return ""
