"""The filter language of list and watch calls: a subset of AIP-160, parsed here and turned into one SQL condition.

    expression = term { "AND" term }
    term       = factor { "OR" factor }            OR binds tighter than AND, as AIP-160 has it
    factor     = [ "NOT" | "-" ] ( "(" expression ")" | comparison )
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ) value
    value      = "text in double quotes" | word

`:` finds a part of a text, in any letter case. `=` on a text may begin or end with `*`, which stands for any text.
Times are RFC 3339 (`"2026-01-31T00:00:00Z"`). Every value travels as a parameter, so that no filter can reach the SQL.
"""

from __future__ import annotations

import datetime as dt
import operator as op
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from quasar.errors import FieldViolation, InvalidFilter

MAX_COMPARISONS = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
        |(?P<operator><=|>=|!=|[=<>:])
        |(?P<bracket>[()])
        |(?P<word>[^\s"()=<>!:][^\s"()=<>!]*))""",
    re.VERBOSE,
)
_COMPARED: Mapping[str, str] = {"=": "=", "!=": "IS DISTINCT FROM", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

_ORDER: Mapping[str, Callable[[int, int], bool]] = {
    "=": op.eq,
    ":": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a filter may name."""

    sql: str
    """The expression that it stands for; written by us, never by a caller."""
    type: Literal["text", "integer", "number", "time", "enum", "list"] = "text"
    """`list`: the expression is an array of texts, of which one has to pass; it is compared with `=`, `!=` and `:`."""
    values: tuple[str, ...] = ()
    """Enums: the legal words in their order, which is what `<` and `>` go by. The SQL expression holds the word."""
    convert: Callable[[str], str] = str
    """Brings what a caller writes into the form that is stored: lower case where case does not matter, an alias to its word."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a WHERE clause and its parameters."""

    sql: str
    parameters: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def condition(text: str, fields: Mapping[str, Field], *, first_parameter: int = 1) -> Condition:
    """Turn a filter into SQL.

    Args:
        text: The filter; empty means no condition.
        fields: What may be named, by name.
        first_parameter: Number of the first `$n` that is free.

    Returns:
        A condition that can stand after `WHERE` or `AND`.

    Raises:
        InvalidFilter: The text breaks the grammar, names an unknown field, or has a value of the wrong type.
    """
    if not text.strip():
        return Condition("true", ())
    parser = _Parser(_tokens(text), fields, first_parameter)
    sql = parser.expression()
    if (rest := parser.peek()) is not None:
        raise _problem(f"must end or go on with AND or OR at position {rest.position}, was {rest.text!r}")
    return Condition(sql, tuple(parser.parameters))


def _problem(description: str) -> InvalidFilter:
    return InvalidFilter(f"filter: {description}.", violations=[FieldViolation("filter", description)])


def _tokens(text: str) -> list[_Token]:
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise _problem(f"must be understandable at position {start + 1}, was {text[start : start + 20]!r}")
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens, writing SQL as it goes."""

    def __init__(self, tokens: list[_Token], fields: Mapping[str, Field], first_parameter: int) -> None:
        self.parameters: list[object] = []
        self._tokens = tokens
        self._next = 0
        self._fields = fields
        self._first = first_parameter
        self._comparisons = 0

    def peek(self) -> _Token | None:
        """Return the next token without taking it."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, expected: str) -> _Token:
        token = self.peek()
        if token is None:
            raise _problem(f"must not end here; {expected} is missing at the end")
        self._next += 1
        return token

    def _accept(self, *words: str) -> bool:
        token = self.peek()
        if token is None or token.kind == "string" or token.text not in words:
            return False
        self._next += 1
        return True

    def expression(self) -> str:
        """Parse terms joined by AND."""
        parts = [self._term()]
        while self._accept("AND"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"

    def _term(self) -> str:
        parts = [self._factor()]
        while self._accept("OR"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def _factor(self) -> str:
        if self._accept("NOT", "-"):
            return f"(({self._factor()}) IS NOT TRUE)"
        if not self._accept("("):
            return self._comparison()
        inner = self.expression()
        if not self._accept(")"):
            raise _problem("must have a ')' for each '('")
        return inner

    def _comparison(self) -> str:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise _problem(f"must have at most {MAX_COMPARISONS} comparisons")
        name = self._take("a field")
        if name.kind == "word" and name.text.startswith("-") and name.text[1:] in self._fields:
            self._next -= 1
            self._tokens[self._next] = _Token("word", name.text[1:], name.position + 1)
            return f"(({self._comparison()}) IS NOT TRUE)"
        field = self._fields.get(name.text) if name.kind == "word" else None
        if field is None:
            known = ", ".join(sorted(self._fields))
            raise _problem(f"must name one of {known} at position {name.position}, was {name.text!r}")
        operator = self._take("an operator")
        if operator.kind != "operator":
            choices = "=, !=, <, <=, >, >= or :"
            raise _problem(
                f"must have {choices} after {name.text} at position {operator.position}, was {operator.text!r}"
            )
        value = self._take("a value")
        if value.kind not in ("string", "word"):
            raise _problem(f"must have a value at position {value.position}, was {value.text!r}")
        plain = re.sub(r"\\(.)", r"\1", value.text[1:-1]) if value.kind == "string" else value.text
        return self._sql(field, name.text, operator.text, plain)

    def _parameter(self, value: object) -> str:
        self.parameters.append(value)
        return f"${self._first + len(self.parameters) - 1}"

    def _sql(self, field: Field, name: str, operator: str, value: str) -> str:
        value = field.convert(value)
        if field.type == "enum":
            return self._enum_sql(field, name, operator, value)
        if field.type == "list":
            return self._list_sql(field, name, operator, value)
        if operator == ":" or (field.type == "text" and operator in ("=", "!=") and "*" in (value[:1], value[-1:])):
            return self._pattern_sql(field, name, operator, value)
        converted: object = value if field.type == "text" else _converted(field, name, value)
        return f"{field.sql} {_COMPARED[operator]} {self._parameter(converted)}"

    def _pattern_sql(self, field: Field, name: str, operator: str, value: str) -> str:
        if field.type != "text":
            raise _problem(f"must not use ':' on {name}, which is no text; use = or a comparison")
        literal = re.sub(r"([\\%_])", r"\\\1", value if operator == ":" else value.strip("*"))
        if operator == ":":
            return f"{field.sql} ILIKE {self._parameter(f'%{literal}%')}"
        pattern = ("%" if value.startswith("*") else "") + literal + ("%" if value.endswith("*") else "")
        found = f"{field.sql} LIKE {self._parameter(pattern)}"
        return found if operator == "=" else f"(({found}) IS NOT TRUE)"

    def _list_sql(self, field: Field, name: str, operator: str, value: str) -> str:
        if operator not in ("=", "!=", ":"):
            raise _problem(f"{name} must be compared with =, != or :, was {operator!r}")
        if operator == ":":
            pattern = re.sub(r"([\\%_])", r"\\\1", value)
            return f"EXISTS (SELECT FROM unnest({field.sql}) item WHERE item ILIKE {self._parameter(f'%{pattern}%')})"
        if field.values and value not in field.values:
            raise _problem(f"{name} must be one of {', '.join(field.values)}, was {value!r}")
        found = f"{self._parameter(value)} = ANY({field.sql})"
        return found if operator == "=" else f"(({found}) IS NOT TRUE)"

    def _enum_sql(self, field: Field, name: str, operator: str, value: str) -> str:
        if value not in field.values:
            raise _problem(f"{name} must be one of {', '.join(field.values)}, was {value!r}")
        rank = field.values.index(value)
        compare = _ORDER[operator]
        chosen = [word for i, word in enumerate(field.values) if compare(i, rank)]
        return f"{field.sql} = ANY({self._parameter(chosen)}::text[])"


def _converted(field: Field, name: str, value: str) -> object:
    """Return the value in the field's type."""
    try:
        found = _CONVERSIONS[field.type](value)
    except ValueError:
        found = None
    if found is None:
        wanted = {"integer": "a whole number", "number": "a number"}.get(field.type, "an RFC 3339 time with its zone")
        raise _problem(f"{name} must be {wanted}, was {value!r}")
    return found


def _integer(value: str) -> int | None:
    number = int(value)
    return number if abs(number) < 2**63 else None


def _instant(value: str) -> dt.datetime | None:
    instant = dt.datetime.fromisoformat(value)
    return instant if instant.tzinfo is not None else None


_CONVERSIONS: Mapping[str, Callable[[str], object | None]] = {"integer": _integer, "number": float, "time": _instant}
