"""How a value of the model says that an input breaks a rule."""

from __future__ import annotations

from quasar.errors import FieldViolation, InvalidArgument


def violation(field: str, must_be: str, was: object) -> InvalidArgument:
    """Build the error for one bad input; the caller raises it.

    Args:
        field: Path of the field, for example `interval`.
        must_be: The rule and with it the remedy, in words that follow "must be".
        was: The value that was given.

    Returns:
        An error whose message names the field, the rule and the value.
    """
    text = f"must be {must_be}, was {was!r}"
    return InvalidArgument(f"{field} {text}", violations=(FieldViolation(field, text),))
