"""Several entries of one batch that fail: one error that names each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quasar.errors import FieldViolation, QuasarError


@dataclass(frozen=True, slots=True)
class Failure:
    """One entry that cannot be done."""

    place: int
    """In the batch, from 0."""
    field: str
    """Of the entry, for example `asset.symbol`."""
    error: QuasarError


def raise_all(failures: Sequence[Failure], batch: str) -> None:
    """Raise one error for all failures; nothing happens without any.

    Args:
        failures: What failed.
        batch: The field that holds the entries (`mappings`); empty for a call with one entry: its own error is raised.

    Raises:
        QuasarError: Of the class of the first failure, with a violation for each one.
    """
    if not failures:
        return
    first = failures[0].error
    if not batch:
        violations = [FieldViolation(each.field, each.error.message) for each in failures]
        raise type(first)(
            first.message, resource=first.resource, violations=first.violations or violations, metadata=first.metadata
        )
    violations = [FieldViolation(f"{batch}[{each.place}].{each.field}", each.error.message) for each in failures]
    count = len({each.place for each in failures})
    raise type(first)(
        f"{count} entries cannot be done, so nothing was; the first, {violations[0].field}: {first.message}",
        resource=first.resource,
        violations=violations[:1000],
        metadata=first.metadata,
    )
