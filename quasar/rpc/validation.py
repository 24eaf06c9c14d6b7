"""Checks a request against the rules that stand in the contract (`buf.validate`)."""

from __future__ import annotations

import re
from typing import Any, Final

import protovalidate
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import Message

from quasar import errors

_SECRET: Final = re.compile(r"secret|token|bearer|password", re.IGNORECASE)
_LONGEST: Final = 80
"""Characters of a value that are repeated to the caller."""
_MOST: Final = 12
"""Violations that are told: a status travels in the trailing metadata, of which clients take 8 KiB."""
_UNSET: Final = "must be set"
_EMPTY: Final = "must not be empty"
# What the patterns of the contract mean to a person; one that is not here is shown as it is.
_PATTERNS: Final = {
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$": "must be a decimal number such as 12.50",
    r"^[a-z][a-z0-9-]{0,62}$": "must begin with a small letter and have 1 to 63 small letters, digits or '-'",
    r"^[^/\\]+\.([pP][yY]|[zZ][iI][pP])$": "must be the name of a .py or .zip file",
}
_VALIDATOR: Final = protovalidate.Validator()


def check(request: Message) -> None:
    """Refuse a request that breaks a rule of the contract.

    Raises:
        quasar.errors.InvalidArgument: One violation for each broken rule: path of the field, the rule and the value,
            which is left out where the field's name says that it holds a secret.
    """
    found = _VALIDATOR.collect_violations(request)
    if found:
        violations = [_violation(one) for one in found[:_MOST]]
        sentence = "; ".join(f"{v.field} {v.description}" if v.field else v.description for v in violations)
        more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
        raise errors.InvalidArgument(f"{sentence}{more}.", violations=violations)


def _violation(found: protovalidate.Violation) -> errors.FieldViolation:
    proto = found.proto
    path = field_path(proto.field.elements) if proto.field is not None else ""
    rule = re.sub(r"[^A-Z0-9]+", "_", proto.rule_id.upper())
    wording = _wording(rule, proto.message, found)
    empty = wording in (_UNSET, _EMPTY)
    return errors.FieldViolation(path, wording if empty else f"{wording}{_value(path, found.field_value)}", rule)


def _wording(rule: str, message: str, found: protovalidate.Violation) -> str:
    """Say every rule as "must …": the validator's own words differ from rule to rule."""
    if rule == "REQUIRED" or (rule == "ENUM_NOT_IN" and found.field_value == 0):
        return _UNSET
    if found.field_value in ("", b"") and rule in ("STRING_MIN_LEN", "BYTES_MIN_LEN"):
        return _EMPTY
    if rule == "STRING_IN":
        return f"must be one of {', '.join(repr(one) for one in found.rule_value)}"
    if rule == "STRING_PATTERN" and found.rule_value in _PATTERNS:
        return _PATTERNS[found.rule_value]
    return message.removeprefix("value ").replace("does not match regex pattern", "must match").rstrip(".")


def _value(path: str, value: Any) -> str:
    if not path or _SECRET.search(path):
        return ""
    if isinstance(value, str | bytes):
        text = repr(value)
    elif isinstance(value, duration_pb2.Duration | timestamp_pb2.Timestamp):
        text = value.ToJsonString()
    else:
        text = " ".join(str(value).split())
    return f", was {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}"


def field_path(elements: Any) -> str:
    """Return a field path as text: `series[2].symbol`, `labels["a"]`."""
    path = ""
    for element in elements:
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            key = subscript.value
            path += f"[{key}]" if isinstance(key, int) else f'["{key}"]'
    return path
