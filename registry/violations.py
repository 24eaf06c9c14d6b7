"""How several broken rules are told in one error."""

from __future__ import annotations

from collections.abc import Sequence

from quasar.errors import FieldViolation, InvalidArgument

_TOLD = 5
"""Violations that the sentence repeats; all of them are in the details."""


def refused(violations: Sequence[FieldViolation]) -> InvalidArgument:
    """Return the error for broken rules, with a sentence that stays short."""
    told = "; ".join(f"{violation.field} {violation.description}" for violation in violations[:_TOLD])
    more = len(violations) - _TOLD
    return InvalidArgument(f"{told}; and {more} more." if more > 0 else f"{told}.", violations=violations)
