"""Between Python values and protobuf's well-known types."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: dt.datetime | None) -> Timestamp | None:
    """Return an aware time as a message, to the microsecond; None stays absent."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def timestamp_ns(nanoseconds: int) -> Timestamp:
    """Return nanoseconds since 1970-01-01 UTC as a message."""
    message = Timestamp()
    message.FromNanoseconds(nanoseconds)
    return message


def instant(message: Timestamp) -> dt.datetime:
    """Return a timestamp as an aware time in UTC; nanoseconds below a microsecond are cut off."""
    return message.ToDatetime(tzinfo=dt.UTC)


def duration(seconds: float | None) -> Duration | None:
    """Return seconds as a message; None stays absent."""
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds(message: Duration) -> float:
    """Return a duration in seconds."""
    return message.ToNanoseconds() / 1e9


def struct(values: Mapping[str, Any]) -> Struct:
    """Return JSON values as a message; what JSON does not know becomes text."""
    message = Struct()
    message.update(json.loads(json.dumps(dict(values), default=str)))
    return message
