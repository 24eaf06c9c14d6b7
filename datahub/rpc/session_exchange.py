"""Streams that run at other replicas: changed from here, and ended when their session begins anew here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from quasar import logs
from quasar.errors import Internal, QuasarError
from quasar.rpc.errors import code_of, from_status, to_status
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_DONE: Final = b"+"
_REFUSED: Final = b"-"
_log = logs.get(__name__)

Change = Callable[[str, pb.UpdateSubscriptionsRequest], Awaitable[pb.UpdateSubscriptionsResponse | None]]
"""Changes a stream of a principal that runs here; None: it has no such stream here."""


class Replicas(Protocol):
    """Carries questions to all replicas."""

    async def ask(self, question: bytes) -> bytes | None:
        """Return the answer of the first replica that has one; None: none has."""
        ...

    async def say(self, word: bytes) -> None:
        """Tell all replicas something that nobody answers."""
        ...

    async def answer(self, answer: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """Answer what is asked and hear what is said, for ever; None is no answer."""
        ...


class SessionExchange:
    """Speaks with other replicas about sessions. Who may call what was decided where the call came in."""

    def __init__(self, replicas: Replicas, instance_id: str) -> None:
        """Speak through `replicas`, as the process `instance_id`."""
        self._replicas = replicas
        self._instance_id = instance_id

    async def change(
        self, principal: str, request: pb.UpdateSubscriptionsRequest
    ) -> pb.UpdateSubscriptionsResponse | None:
        """Have a stream changed where it runs; None: it runs nowhere.

        Raises:
            QuasarError: Whatever the replica answers that runs it.
        """
        answer = await self._replicas.ask(self._packed("change", principal, request.SerializeToString()))
        if answer is None:
            return None
        if answer[:1] == _REFUSED:
            raise from_status(status_pb2.Status.FromString(answer[1:]), code_of(Internal()))
        return pb.UpdateSubscriptionsResponse.FromString(answer[1:])

    async def taken_over(self, principal: str, session_id: str) -> None:
        """Tell that a session has begun here: streams of it elsewhere end."""
        await self._replicas.say(self._packed("begun", principal, session_id.encode()))

    async def run(self, change: Change, end: Callable[[str, str], None]) -> None:
        """Do what other replicas ask, for ever.

        Args:
            change: Changes a stream that runs here.
            end: Ends a stream that runs here, by its principal and session id; does nothing when there is none.
        """

        async def answer(question: bytes) -> bytes | None:
            try:
                head, _, payload = question.partition(b"\n")
                told = json.loads(head)
                what, principal, instance_id = str(told["what"]), str(told["principal"]), str(told["instance"])
                if instance_id == self._instance_id:
                    return None
                if what == "begun":
                    end(principal, payload.decode())
                    return None
                response = await change(principal, pb.UpdateSubscriptionsRequest.FromString(payload))
                return None if response is None else _DONE + response.SerializeToString()
            except QuasarError as error:
                status: bytes = to_status(error, "").SerializeToString()
                return _REFUSED + status
            except (ValueError, KeyError, TypeError, DecodeError) as error:
                _log.warning("what was asked of streams cannot be read", problem=repr(error))
                return None

        await self._replicas.answer(answer)

    def _packed(self, what: str, principal: str, payload: bytes) -> bytes:
        head = {"what": what, "principal": principal, "instance": self._instance_id}
        return json.dumps(head).encode() + b"\n" + payload
