"""Orderings of lists, as in AIP-132, and the condition under which a page goes on where the one before ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quasar.errors import FieldViolation, InvalidFilter
from quasar.filters import Condition


@dataclass(frozen=True, slots=True)
class OrderField:
    """A field that a list may be ordered by."""

    sql: str
    """The expression that it stands for; written by us, and never null."""
    type: Literal["text", "bigint", "integer", "boolean", "timestamptz", "uuid", "double precision"] = "text"


@dataclass(frozen=True, slots=True)
class Ordering:
    """A total order of rows."""

    terms: tuple[tuple[OrderField, bool], ...]
    """Each field and whether it descends."""
    parted: bool = False
    """The fields are of several tables, so that no index has them side by side: the first is bounded by itself too."""

    @property
    def clause(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(f"{field.sql}{' DESC' if descends else ''}" for field, descends in self.terms)

    @property
    def key(self) -> str:
        """The expression of a row's place in the order, an array of texts."""
        return f"ARRAY[{', '.join(f'({field.sql})::text' for field, _ in self.terms)}]"

    def after(self, key: Sequence[str | int] | None, *, first_parameter: int) -> Condition:
        """Return the condition of the rows after a place; None: of all rows."""
        if key is None:
            return Condition("true", ())
        if len(key) != len(self.terms):
            raise _refused("page_token", "must be the next_page_token of the page before, unchanged", "another")
        values = [f"${first_parameter + i}::text::{field.type}" for i, (field, _) in enumerate(self.terms)]
        if len({descends for _, descends in self.terms}) == 1:
            # One direction: a row comparison, which an index can answer.
            fields = ", ".join(field.sql for field, _ in self.terms)
            compare = "<" if self.terms[0][1] else ">"
            bound = f"{self.terms[0][0].sql} {compare}= {values[0]} and " if self.parted else ""
            return Condition(f"{bound}({fields}) {compare} ({', '.join(values)})", tuple(map(str, key)))
        return Condition(f"({' OR '.join(self._branches(values))})", tuple(map(str, key)))

    def _branches(self, values: Sequence[str]) -> list[str]:
        branches = []
        for last, (field, descends) in enumerate(self.terms):
            same = [f"{self.terms[i][0].sql} = {values[i]}" for i in range(last)]
            beyond = f"{field.sql} {'<' if descends else '>'} {values[last]}"
            branches.append(f"({' AND '.join([*same, beyond])})")
        return branches


def ordering(text: str, fields: Mapping[str, OrderField], *, default: str, tie: Sequence[OrderField]) -> Ordering:
    """Read an `order_by`.

    Args:
        text: `field [desc], …`; empty: the default.
        fields: What may be named.
        default: The ordering without a wish.
        tie: Fields that make the order total; left out where they are named already.

    Raises:
        InvalidFilter: A field is unknown or named twice, or a word is neither `asc` nor `desc`.
    """
    terms: list[tuple[OrderField, bool]] = []
    for part in (text.strip() or default).split(","):
        words = part.split()
        known = words and words[0] in fields and len(words) <= 2 and words[-1] in (words[0], "asc", "desc")
        if not known or any(fields[words[0]] is field for field, _ in terms):
            choices = ", ".join(fields)
            raise _refused(
                "order_by", f"must name each of {choices} at most once, with or without ' desc'", part.strip()
            )
        terms.append((fields[words[0]], words[-1] == "desc"))
    descends = terms[-1][1]
    terms += [(field, descends) for field in tie if all(field.sql != named.sql for named, _ in terms)]
    return Ordering(tuple(terms))


def _refused(field: str, rule: str, value: str) -> InvalidFilter:
    description = f"{rule}, was {value[:80]!r}"
    return InvalidFilter(f"{field} {description}.", violations=[FieldViolation(field, description)])
