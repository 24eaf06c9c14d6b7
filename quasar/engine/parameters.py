"""Parameters of a strategy: declared with a default and bounds, checked when set, described as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar, overload

from quasar import errors

T = TypeVar("T", bool, int, float, str, Decimal)

_JSON_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", Decimal: "string"}


class Parameter(Generic[T]):
    """One parameter, typed by its default: `fast = Parameter(10, minimum=2, maximum=400)`.

    Read on an instance it is the value (a plain attribute, nothing is computed); read on the class it is the
    declaration.
    """

    def __init__(
        self,
        default: T,
        *,
        minimum: T | None = None,
        maximum: T | None = None,
        choices: Sequence[T] = (),
        description: str = "",
    ) -> None:
        """Declare a parameter.

        Args:
            default: Its value unless another is given; its type is the parameter's.
            minimum: The least value.
            maximum: The greatest value.
            choices: The only values; empty: any.
            description: What it does and its unit, for people.
        """
        self.default: T = default
        self.minimum: T | None = minimum
        self.maximum: T | None = maximum
        self.choices: tuple[T, ...] = tuple(choices)
        self.description = description
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name."""
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Parameter[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Parameter[T] | T:
        """Return the declaration on the class, the default on an instance that has no value of its own."""
        return self if instance is None else self.default

    def read(self, value: object) -> T:
        """Return a value of the parameter's type.

        Raises:
            InvalidArgument: It is of another type or out of bounds.
        """
        read = self._typed(value)
        if self.choices and read not in self.choices:
            raise self._violation(f"one of {', '.join(map(str, self.choices))}", value)
        if isinstance(read, int | float | Decimal) and not isinstance(read, bool):
            if self.minimum is not None and read < self.minimum:
                raise self._violation(f"at least {self.minimum}", value)
            if self.maximum is not None and read > self.maximum:
                raise self._violation(f"at most {self.maximum}", value)
        return read

    def _typed(self, value: object) -> T:
        kind: type[Any] = type(self.default)
        whole = isinstance(value, float) and value.is_integer()
        fits = {
            bool: isinstance(value, bool),
            int: (isinstance(value, int) or whole) and not isinstance(value, bool),
            float: isinstance(value, int | float) and not isinstance(value, bool),
            str: isinstance(value, str),
            Decimal: isinstance(value, int | str | Decimal) and not isinstance(value, bool),
        }
        if not fits[kind]:
            raise self._violation(f"of type {kind.__name__}", value)
        try:
            result: T = kind(value)
        except ArithmeticError:
            raise self._violation("a number", value) from None
        if isinstance(result, float | Decimal) and result - result != 0:
            raise self._violation("finite", value)
        return result

    def _violation(self, rule: str, value: object) -> errors.InvalidArgument:
        text = f"parameter {self.name} must be {rule}, was {value!r}"
        return errors.InvalidArgument(text, violations=[errors.FieldViolation(f"parameters.{self.name}", text)])

    def schema(self) -> dict[str, object]:
        """Return the parameter as a JSON Schema (draft 2020-12); a `Decimal` is a string."""
        kind = type(self.default)
        described: dict[str, object] = {"type": _JSON_TYPES[kind], "default": _plain(self.default)}
        if kind is Decimal:
            described["format"] = "decimal"
        if self.minimum is not None:
            described["minimum"] = _plain(self.minimum)
        if self.maximum is not None:
            described["maximum"] = _plain(self.maximum)
        if self.choices:
            described["enum"] = [_plain(choice) for choice in self.choices]
        if self.description:
            described["description"] = self.description
        return described


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


def declared(owner: type) -> dict[str, Parameter[Any]]:
    """Return the parameters of a class by name, those of its bases first, in the order of their declaration."""
    found: dict[str, Parameter[Any]] = {}
    for base in reversed(owner.__mro__):
        found |= {name: value for name, value in vars(base).items() if isinstance(value, Parameter)}
    return found
