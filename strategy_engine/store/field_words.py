"""What filters and orderings of several lists have in common: labels, figures, truth."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from quasar.filters import Field
from quasar.ordering import OrderField

_LABEL: Final = re.compile(r"labels\.([A-Za-z0-9_./-]{1,63})")
BOOLEANS: Final = ("false", "true")


def truth(sql: str) -> Field:
    """Return a field that is true or false."""
    return Field(f"({sql})::text", "enum", BOOLEANS, convert=str.lower)


def numeric(sql: str) -> Field:
    """Return a field that is a number; one that is not known passes no comparison."""
    return Field(f"({sql})::float8", "number", nullable=True)


def ordered_number(sql: str) -> OrderField:
    """Return an ordering by a number; what is not known counts as the least."""
    return OrderField(f"coalesce(({sql})::float8, '-infinity')", "double precision")


def figure(name: str) -> str:
    """Return the expression of a figure in a column of statistics."""
    return f"statistics ->> '{name}'"


class LabelledFields(dict[str, Field]):
    """Fields of things that have labels, in a column of that name: `labels.<key>` is a field too."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field; a label that a thing lacks is empty."""
        label = _LABEL.fullmatch(name)
        return Field(f"coalesce(labels ->> '{label[1]}', '')") if label else super().get(name, default)


def words(prefix: str, names: Iterable[str]) -> dict[str, Field]:
    """Return the fields of figures by their names behind a prefix."""
    return {f"{prefix}{name}": numeric(figure(name)) for name in names}
