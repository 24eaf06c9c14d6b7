"""The running streams of one DataHub, as other calls reach them."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datahub.stream.batch import Past
from datahub.stream.reader import Reader
from datahub.stream.selection import Item, Selection
from quasar import errors
from quasar.rpc.context import find_call


@dataclass(slots=True, eq=False)
class Session:
    """A running stream as others reach it."""

    session_id: str
    principal: str
    reader: Reader
    selection: Selection
    news: list[Item] = field(default_factory=list)
    """Items that were added and not told yet."""
    removed: list[Item] = field(default_factory=list)
    """Items that were taken out and not told yet."""
    past: deque[Past] = field(default_factory=deque)
    """What comes before everything that waits in the reader."""
    described: list[Item] = field(default_factory=list)
    """Items whose series are described in other words now."""
    sequence: int = 0
    """Of the last envelope."""
    phase: tuple[Any, tuple[str, ...]] | None = None
    """The phase that ends with `past`, and whose it is."""
    ended: bool = False
    """Another stream took over its id."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the client changes its selection."""

    @property
    def begins(self) -> bool:
        """Whether a past is to be told, be it an empty one."""
        return bool(self.past) or self.phase is not None


class Sessions:
    """The running streams of this process, by their owner and id."""

    def __init__(self) -> None:
        """Begin without one."""
        self._sessions: dict[tuple[str, str], Session] = {}

    def open(self, wanted_id: str, reader: Reader, selection: Selection) -> Session:
        """Begin a session; a former one of the same owner and id ends."""
        session = Session(wanted_id or secrets.token_hex(8), principal_of_call(), reader, selection)
        self.take_over(session.principal, session.session_id)
        self._sessions[session.principal, session.session_id] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a session."""
        key = (session.principal, session.session_id)
        if self._sessions.get(key) is session:
            del self._sessions[key]

    def of(self, principal: str, session_id: str) -> Session | None:
        """Return a session of somebody; None: it does not run here."""
        return self._sessions.get((principal, session_id))

    def take_over(self, principal: str, session_id: str) -> None:
        """End a session, if it runs here: it has begun anew elsewhere."""
        if (session := self.of(principal, session_id)) is not None:
            session.ended = True
            session.reader.wake()

    def all(self) -> Iterable[Session]:
        """Return every session."""
        return self._sessions.values()

    def __len__(self) -> int:
        """Return how many streams run."""
        return len(self._sessions)


def not_found(session_id: str) -> errors.NotFound:
    """Return what the caller is told when nobody runs a session of theirs."""
    return errors.NotFound(
        f"You have no stream with the session {session_id!r}; its id stands in the first envelope.",
        resource=errors.Resource("session", session_id),
    )


def principal_of_call() -> str:
    """Return who makes the call that is answered now."""
    call = find_call()
    return call.principal if call is not None else ""
