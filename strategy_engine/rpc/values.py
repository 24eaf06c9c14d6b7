"""Small values between Python and the messages of the contract: decimals, money, times, enums by their words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from quasar.convert.manifest import value_to_plain
from quasar.model.money import format_decimal, parse_decimal
from quasar.rpc.wellknown import instant
from quasar_proto.common.v1 import values_pb2

M = TypeVar("M", bound=Message)


def decimal_message(value: Decimal | None) -> values_pb2.Decimal | None:
    """Return an exact number as a message; None stays absent."""
    return None if value is None else values_pb2.Decimal(value=format_decimal(value))


def decimal_of(message: Message, field: str) -> Decimal | None:
    """Return the exact number in a field of a message; None where the field is absent."""
    return parse_decimal(getattr(message, field).value, field) if message.HasField(field) else None


def money_message(amount: Decimal | None, currency: str) -> values_pb2.Money | None:
    """Return an amount as a message; None stays absent."""
    return None if amount is None else values_pb2.Money(amount=decimal_message(amount), currency=currency)


def instant_of(message: Message, field: str) -> dt.datetime | None:
    """Return the time in a field of a message; None where the field is absent."""
    return instant(getattr(message, field)) if message.HasField(field) else None


def time_ns_of(stamp: Timestamp) -> int:
    """Return a timestamp in nanoseconds."""
    return stamp.ToNanoseconds()


def word_of(kind: Any, number: int, prefix: str) -> str:
    """Return the word of an enum's number without its prefix; empty for the unspecified one."""
    return str(kind.Name(number)).removeprefix(prefix) if number else ""


def number_of(kind: Any, word: str, prefix: str) -> Any:
    """Return the number of an enum's word; 0 for an empty one."""
    return kind.Value(f"{prefix}{word}") if word else 0


def document(message: Message) -> dict[str, Any]:
    """Return a message as JSON with the contract's field names."""
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def message_of(found: Mapping[str, Any], kind: type[M]) -> M:
    """Return the message that a document holds; fields of a later build are left out."""
    return json_format.ParseDict(dict(found), kind(), ignore_unknown_fields=True)


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return a struct as nested Python values; whole numbers are integers."""
    return {name: value_to_plain(value) for name, value in struct.fields.items()}
