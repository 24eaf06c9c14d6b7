"""Tokens: shown once, checked by hash, revoked for good; and what a service remembers of them."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from quasar.background import background
from quasar.clock import SystemClock
from quasar.database.listener import Listener
from quasar.database.pool import Database
from quasar.errors import AlreadyExists, DatabaseUnavailable, InvalidCursor, NotFound, Unauthenticated
from quasar.ops import tokens as module
from quasar.ops.actors import Actor
from quasar.ops.bearers import ServiceBearers
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Token, Tokens
from quasar.rpc.caller import ADMIN, VIEWER
from quasar.rpc.ops.authentication import REMEMBERED_S, TokenAuthenticator
from quasar.secrets import SystemContext
from quasar.testing.clock import FakeClock

PATIENCE_S = 60
ANN = Actor("ann", Role.ADMIN, "request-1")


def authenticator(tokens: Tokens, context: SystemContext, clock: Any) -> TokenAuthenticator:
    return TokenAuthenticator(tokens, ServiceBearers(context, clock), clock)


async def test_a_token_is_known_by_the_bearer_that_was_shown_once(tokens: Tokens, database: Database) -> None:
    token, bearer = await tokens.create("laptop", Role.OPERATOR, actor=ANN)
    found = await tokens.verify(bearer)
    assert (found.token_id, found.name, found.role, found.created_by) == (
        token.token_id,
        "laptop",
        Role.OPERATOR,
        "ann",
    )
    stored = await database.fetchrow("select * from ops.tokens")
    assert bearer not in str(dict(stored))
    assert bearer.rpartition("_")[2] not in str(dict(stored))


async def test_a_bearer_with_another_secret_is_refused(tokens: Tokens) -> None:
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    changed = bearer[:-1] + ("0" if bearer[-1] != "0" else "1")
    for wrong in (changed, bearer.upper(), bearer[:-1], f"{bearer}0", "", "qsr__", "nonsense", "qsr_\x00"):
        with pytest.raises(Unauthenticated):
            await tokens.verify(wrong)


async def test_a_revoked_token_is_refused_and_says_so(tokens: Tokens, events: Events) -> None:
    token, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    revoked = await tokens.revoke("laptop", actor=ANN)
    assert revoked.token_id == token.token_id
    with pytest.raises(Unauthenticated, match="'laptop' was revoked"):
        await tokens.verify(bearer)
    assert (await tokens.revoke(str(token.token_id), actor=ANN)).revoke_time == revoked.revoke_time
    recorded, _ = await events.list(order_by="event_id")
    assert [(event.kind, event.subject_name, event.actor) for event in recorded] == [
        ("TokenCreated", "laptop", ANN),
        ("TokenRevoked", "laptop", ANN),
    ]


async def test_a_token_is_revoked_by_its_id_in_either_spelling(tokens: Tokens) -> None:
    for spell in (lambda token: str(token.token_id), lambda token: token.token_id.hex):
        token, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
        await tokens.revoke(spell(token), actor=ANN)
        with pytest.raises(Unauthenticated):
            await tokens.verify(bearer)
    with pytest.raises(NotFound, match="'nobody'"):
        await tokens.revoke("nobody", actor=ANN)


async def test_an_expired_token_is_refused_and_its_name_is_free_again(database: Database, events: Events) -> None:
    tokens = Tokens(database, events, SystemClock())
    _, bearer = await tokens.create("ci", Role.VIEWER, actor=ANN, lifetime=dt.timedelta(microseconds=1))
    with pytest.raises(Unauthenticated, match="'ci' has expired"):
        await tokens.verify(bearer)
    await tokens.create("ci", Role.VIEWER, actor=ANN)


async def test_a_name_in_force_is_taken(tokens: Tokens) -> None:
    await tokens.create("laptop", Role.VIEWER, actor=ANN)
    with pytest.raises(AlreadyExists, match="'laptop' is in force"):
        await tokens.create("laptop", Role.ADMIN, actor=ANN)
    await tokens.revoke("laptop", actor=ANN)
    await tokens.create("laptop", Role.ADMIN, actor=ANN)


async def test_tokens_are_listed_newest_first_in_pages_without_the_inactive_ones(tokens: Tokens) -> None:
    for number in range(5):
        await tokens.create(f"t{number}", Role.VIEWER, actor=ANN)
    await tokens.revoke("t2", actor=ANN)
    page, following = await tokens.list(page_size=3)
    rest, end = await tokens.list(page_size=3, page_token=following)
    assert [token.name for token in (*page, *rest)] == ["t4", "t3", "t1", "t0"]
    assert end == ""
    everything, _ = await tokens.list(include_inactive=True)
    assert [token.name for token in everything] == ["t4", "t3", "t2", "t1", "t0"]
    with pytest.raises(InvalidCursor):
        await tokens.list(page_size=3, page_token=following, include_inactive=True)


async def test_the_last_use_is_noted_to_the_minute(tokens: Tokens) -> None:
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    await tokens.verify(bearer)
    [token], _ = await tokens.list()
    assert token.last_used_time is not None
    assert (token.last_used_time.second, token.last_used_time.microsecond) == (0, 0)
    assert SystemClock().now() - token.last_used_time < dt.timedelta(minutes=2)


async def test_a_caller_has_the_name_and_role_of_its_token(tokens: Tokens, system_context: SystemContext) -> None:
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN, lifetime=dt.timedelta(days=1))
    caller = await authenticator(tokens, system_context, SystemClock()).authenticate(bearer)
    assert (caller.principal, caller.role) == ("laptop", VIEWER)
    assert caller.expire_time is not None


async def test_a_service_is_known_without_the_database(tokens: Tokens, system_context: SystemContext) -> None:
    clock = FakeClock()
    bearer, _ = ServiceBearers(system_context, clock).make("registry")
    await tokens._database.close()
    caller = await authenticator(tokens, system_context, clock).authenticate(bearer)
    assert (caller.principal, caller.role) == ("service:registry", ADMIN)


class Counting(Tokens):
    """Counts how often the database is asked."""

    asked = 0

    async def verify(self, bearer: str) -> Token:
        self.asked += 1
        return await super().verify(bearer)


@pytest.fixture
def counting(database: Database, events: Events) -> Counting:
    return Counting(database, events, SystemClock())


async def test_many_calls_with_one_token_ask_the_database_once(
    counting: Counting, system_context: SystemContext
) -> None:
    _, bearer = await counting.create("laptop", Role.VIEWER, actor=ANN)
    knows = authenticator(counting, system_context, FakeClock())
    callers = await asyncio.gather(*(knows.authenticate(bearer) for _ in range(50)))
    assert {caller.principal for caller in callers} == {"laptop"}
    await knows.authenticate(bearer)
    assert counting.asked == 1


async def test_unknown_bearers_are_remembered_too(counting: Counting, system_context: SystemContext) -> None:
    knows = authenticator(counting, system_context, FakeClock())
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await knows.authenticate("qsr_nonsense")
    assert counting.asked == 1


async def test_a_revocation_counts_within_seconds_without_a_notification(
    tokens: Tokens, system_context: SystemContext
) -> None:
    clock = FakeClock()
    knows = authenticator(tokens, system_context, clock)
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    await knows.authenticate(bearer)
    await tokens.revoke("laptop", actor=ANN)
    await clock.advance(REMEMBERED_S)
    with pytest.raises(Unauthenticated):
        await knows.authenticate(bearer)


async def test_a_revocation_counts_at_once_with_a_notification(
    tokens: Tokens, system_context: SystemContext, database_url: str
) -> None:
    knows = authenticator(tokens, system_context, FakeClock())
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    forgotten = asyncio.Event()

    def forget(payload: str) -> None:
        knows.forget(payload)
        if payload:
            forgotten.set()

    async with background() as running, asyncio.timeout(PATIENCE_S):
        listener = Listener(database_url, {module.CHANNEL: forget})
        running.start(listener.run(), "listener")
        await listener.connected.wait()
        await knows.authenticate(bearer)
        await tokens.revoke("laptop", actor=ANN)
        await forgotten.wait()
        with pytest.raises(Unauthenticated):
            await knows.authenticate(bearer)


async def test_an_answer_that_was_on_its_way_during_a_revocation_is_not_remembered(
    database: Database, events: Events, system_context: SystemContext
) -> None:
    """The database was asked before the revocation, and its answer comes after it."""

    class Slow(Tokens):
        answered, release = asyncio.Event(), asyncio.Event()

        async def verify(self, bearer: str) -> Token:
            found = await super().verify(bearer)
            self.answered.set()
            await self.release.wait()
            return found

    tokens = Slow(database, events, SystemClock())
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    knows = authenticator(tokens, system_context, FakeClock())
    asking = asyncio.ensure_future(knows.authenticate(bearer))
    await asyncio.wait_for(tokens.answered.wait(), PATIENCE_S)
    await tokens.revoke("laptop", actor=ANN)
    knows.forget()
    tokens.release.set()
    await asking
    with pytest.raises(Unauthenticated):
        await knows.authenticate(bearer)


async def test_calls_that_wait_for_the_same_answer_survive_the_one_that_asked(
    counting: Counting, system_context: SystemContext
) -> None:
    _, bearer = await counting.create("laptop", Role.VIEWER, actor=ANN)
    knows = authenticator(counting, system_context, FakeClock())
    first = asyncio.ensure_future(knows.authenticate(bearer))
    second = asyncio.ensure_future(knows.authenticate(bearer))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).principal == "laptop"


async def test_a_remembered_token_works_while_the_database_is_away(
    tokens: Tokens, system_context: SystemContext, database: Database
) -> None:
    clock = FakeClock()
    knows = authenticator(tokens, system_context, clock)
    _, bearer = await tokens.create("laptop", Role.VIEWER, actor=ANN)
    await knows.authenticate(bearer)
    await database.close()
    await knows.authenticate(bearer)
    await clock.advance(REMEMBERED_S)
    with pytest.raises(DatabaseUnavailable):
        await asyncio.gather(*(knows.authenticate(bearer) for _ in range(3)))
