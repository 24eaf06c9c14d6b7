"""Preferences: a change is checked against the typed fields, merged at every depth, and laid over the defaults."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.errors import FieldViolation
from registry.code.fields import PreferenceField
from registry.violations import refused

_MOST_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds: the defaults with the stored values laid over them."""

    values: Mapping[str, Any]
    """Nested as the paths; None where there is neither a default nor a value."""
    ignored: tuple[str, ...]
    """Stored paths that are not declared or out of bounds: they have no effect."""


def merged(
    fields: Sequence[PreferenceField], stored: Mapping[str, Any], change: Mapping[str, Any], *, name: str
) -> dict[str, Any]:
    """Return the stored preferences after a change.

    Args:
        fields: What the code takes.
        stored: What is stored now; left as it is.
        change: The fields to change, nested; None takes a stored value, or all values of a group, away. Lists replace.
        name: What the code is called in messages ("provider 'kraken'").

    Returns:
        A new nested mapping without empty groups.

    Raises:
        InvalidArgument: The change is empty, or fields are unknown, of the wrong type or out of range; one violation
            for each, named by its path.
    """
    if not change:
        raise refused([FieldViolation("preferences", "must name at least one field to change, was empty")])
    known = {field.path: field for field in fields}
    before = dict(leaves(stored))
    result = copy.deepcopy(dict(stored))
    violations: list[FieldViolation] = []
    for path, value in leaves(change, groups=_groups(known)):
        problem = _apply(result, path, value, known, before, name)
        if problem is not None:
            violations.append(FieldViolation(path, problem))
    if violations:
        raise refused(violations)
    return _pruned(result)


def effective(fields: Sequence[PreferenceField], stored: Mapping[str, Any]) -> Effective:
    """Lay the stored values over the defaults."""
    known = {field.path: field for field in fields}
    values: dict[str, Any] = {}
    for field in fields:
        _put(values, field.path, copy.deepcopy(field.default))
    ignored: list[str] = []
    for path, value in leaves(stored, groups=_groups(known)):
        found = known.get(path)
        if found is None or found.problem(value) is not None:
            ignored.append(path)
        else:
            _put(values, path, found.normalised(value))
    return Effective(values, tuple(sorted(ignored)))


def in_force(fields: Sequence[PreferenceField], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored values that hold, nested: without those that are not declared or out of bounds."""
    known = {field.path: field for field in fields}
    values: dict[str, Any] = {}
    for path, value in leaves(stored, groups=_groups(known)):
        field = known.get(path)
        if field is not None and field.problem(value) is None:
            _put(values, path, field.normalised(value))
    return values


def missing(fields: Sequence[PreferenceField], stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the required fields for which nothing legal is stored."""
    have = dict(leaves(stored, groups=_groups({field.path: field for field in fields})))
    return tuple(
        field.path
        for field in fields
        if field.required and (field.path not in have or field.problem(have[field.path]) is not None)
    )


def leaves(
    nested: Mapping[str, Any], *, groups: frozenset[str] | None = None, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of a nested mapping; an empty group that is known yields nothing.

    Args:
        nested: The mapping.
        groups: The paths that are known to be groups; when given, an empty mapping elsewhere is a value.
        prefix: The path of `nested` itself.
        depth: How deep `nested` lies; what lies deeper than 16 levels is a value.
    """
    for key, value in nested.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping) and depth < _MOST_DEPTH and (value or (groups is not None and path in groups)):
            yield from leaves(value, groups=groups, prefix=path, depth=depth + 1)
        else:
            yield path, value


def _groups(known: Mapping[str, PreferenceField]) -> frozenset[str]:
    """Return the paths above the fields."""
    found = set()
    for path in known:
        parts = path.split(".")
        found |= {".".join(parts[:length]) for length in range(1, len(parts))}
    return frozenset(found)


def _apply(
    result: dict[str, Any],
    path: str,
    value: Any,
    known: Mapping[str, PreferenceField],
    before: Mapping[str, Any],
    name: str,
) -> str | None:
    """Change one field of `result`, or return what is wrong."""
    if value is None:
        if path in known or path in _groups(known) or path in before or _is_stored_group(path, before):
            _take(result, path)
            return None
        return _unknown(known, name)
    field = known.get(path)
    if field is None:
        if path in _groups(known):
            inside = ", ".join(sorted(one for one in known if one.startswith(f"{path}.")))
            return f"must be a group that holds {inside}, was {value!r}"
        return _unknown(known, name)
    problem = field.problem(value)
    if problem is None:
        _put(result, path, field.normalised(value))
    return problem


def _unknown(known: Mapping[str, PreferenceField], name: str) -> str:
    choices = ", ".join(known) or "no preferences"
    return f"must be a field that {name} takes ({choices}), was unknown"


def _is_stored_group(path: str, before: Mapping[str, Any]) -> bool:
    return any(stored.startswith(f"{path}.") for stored in before)


def _put(nested: dict[str, Any], path: str, value: Any) -> None:
    *groups, last = path.split(".")
    for group in groups:
        inner = nested.get(group)
        if not isinstance(inner, dict):
            inner = nested[group] = {}
        nested = inner
    nested[last] = value


def _take(nested: dict[str, Any], path: str) -> None:
    *groups, last = path.split(".")
    for group in groups:
        inner = nested.get(group)
        if not isinstance(inner, dict):
            return
        nested = inner
    nested.pop(last, None)


def _pruned(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without empty groups."""
    kept = {key: _pruned(value) if isinstance(value, Mapping) else value for key, value in nested.items()}
    return {key: value for key, value in kept.items() if value != {}}
