"""What the details of a status hold."""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

M = TypeVar("M", bound=Message)


def details_of(error: grpc.aio.AioRpcError, kind: type[M]) -> list[M]:
    """Return the details of a kind."""
    trailing = dict(error.trailing_metadata() or ())
    found: list[M] = []
    for each in status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b"")).details:
        one = kind()
        if each.Unpack(one):
            found.append(one)
    return found
