"""The filter language of list and watch calls: a subset of AIP-160.

    expression = term { "AND" term }
    term       = factor { "OR" factor }            OR binds tighter than AND, as AIP-160 has it
    factor     = [ "NOT" | "-" ] ( "(" expression ")" | comparison )
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ) value
    value      = "text in double quotes" | word

`:` finds a part of a text, in any letter case. `=` on a text may begin or end with `*`, which stands for any text.
Times are RFC 3339 (`"2026-01-31T00:00:00Z"`).

`condition` turns a filter into SQL, in which every value is a parameter; `predicate` turns it into a function for rows
that are not in the database. Both mean the same.
"""

from __future__ import annotations

from quasar.filters.fields import Field
from quasar.filters.matching import predicate
from quasar.filters.sql import Condition, condition
from quasar.filters.syntax import MAX_COMPARISONS

__all__ = ["MAX_COMPARISONS", "Condition", "Field", "condition", "predicate"]
