"""Numbers of the contract's enums and the words that the registry stores."""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from quasar.errors import FieldViolation, InvalidArgument
from quasar_proto.common.v1 import values_pb2
from registry.assets.groups import CLASSES, GROUPS
from registry.assets.words import IDENTITY_STATES, METHODS, ORIGINS, STATES
from registry.requests import RequestMark


def class_number(asset_class: str) -> Any:
    """Return the number of an asset class; 0 for an empty word."""
    return CLASSES.index(asset_class)


def class_word(number: int) -> str:
    """Return the asset class that a number stands for; empty for 0."""
    return CLASSES[number] if 0 <= number < len(CLASSES) else str(number)


def group_number(group: str) -> Any:
    """Return the number of an identity group."""
    return GROUPS.index(group)


def state_number(state: str) -> Any:
    """Return the number of an asset's state."""
    return STATES.index(state) + 1


def identity_state_number(state: str) -> Any:
    """Return the number of an identity state."""
    return IDENTITY_STATES.index(state) + 1


def origin_number(origin: str) -> Any:
    """Return the number of an identity's origin."""
    return ORIGINS.index(origin)


def method_number(method: str) -> Any:
    """Return the number of a match method."""
    return METHODS.index(method)


def decimal_message(value: Decimal | None) -> values_pb2.Decimal | None:
    """Return an exact number as a message in plain notation; None stays absent."""
    return None if value is None else values_pb2.Decimal(value=f"{value:f}")


def decimal_of(message: values_pb2.Decimal, field: str) -> Decimal | None:
    """Return the exact number that a message holds; None for an empty one.

    Raises:
        InvalidArgument: It is no number.
    """
    if not message.value:
        return None
    try:
        return Decimal(message.value)
    except InvalidOperation:
        description = f"must be a decimal number, was {message.value!r}"
        raise InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)]) from None


def mark_of(method: str, request: Message) -> RequestMark:
    """Return what tells a request from another; its `request_id` is read from the message."""
    # The same map is written in any order unless asked for.
    written = request.SerializeToString(deterministic=True)
    return RequestMark(method, str(getattr(request, "request_id", "")), hashlib.sha256(written).digest())


def mask_paths(mask: field_mask_pb2.FieldMask, legal: tuple[str, ...], field: str, *, empty: bool = True) -> list[str]:
    """Return the paths of a field mask, each once.

    Raises:
        InvalidArgument: A path is none of the legal ones, or there is none and an `empty` mask is not allowed.
    """
    if not mask.paths and not empty:
        description = f"must name {', '.join(legal)}, was empty"
        raise InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])
    for path in mask.paths:
        if path not in legal:
            description = f"must name {', '.join(legal)} only, was {path[:80]!r}"
            raise InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])
    return list(dict.fromkeys(mask.paths))
