"""Creating subscriptions, one or many at once, all or none."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quasar.errors import Aborted, AlreadyExists, FieldViolation, QuasarError, QuotaExceeded, Resource
from quasar.ops.actors import Actor
from registry.requests import RequestMark
from registry.store import subscription_table as table
from registry.subscriptions.existence import missing_subjects
from registry.subscriptions.ground import Ground, counted, read, record, resource
from registry.subscriptions.plans import Plan, ProviderFacts, Wish, plan, unknown_provider
from registry.subscriptions.subscriptions import Subscription

MOST_VIOLATIONS = 1000
_ATTEMPTS = 20


class _Undone(Exception):  # no error: it only takes back what was tried
    """Takes a transaction back whose outcome was all that was wanted."""


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a batch."""

    ids: tuple[uuid.UUID | None, ...]
    """In the order of the wishes; None for what is only checked."""
    created: int
    existing: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a transaction stored."""

    ids: tuple[uuid.UUID, ...]
    new: frozenset[uuid.UUID]


async def create(
    ground: Ground, wish: Wish, mark: RequestMark, actor: Actor | None, *, validate_only: bool
) -> Subscription:
    """Create a subscription, or return what it would be.

    Raises:
        NotFound: There is no such provider, or no symbol, common symbol or index that is named on its own.
        AlreadyExists: One selects the same of the same provider at the same interval.
        QuotaExceeded: There would be more series than may be.
        InvalidArgument: An interval, cron expression, time zone or start that cannot be taken.
        FailedPrecondition: The provider cannot do what is asked for.
    """
    found: Subscription | None = None
    try:
        async with ground.database.transaction() as connection:
            answer = None if validate_only else await ground.requests.first_answer(connection, mark)
            if answer is not None:
                return await read(connection, uuid.UUID(answer["ids"][0]))
            plans = await planned(ground, connection, [wish], "subscription.")
            stored = await _store(ground, connection, plans, actor, skip_existing=False, prefix="subscription")
            found = await read(connection, stored.ids[0])
            if validate_only:
                raise _Undone
            await _tell_one(ground, connection, found, actor)
            await ground.requests.remember(connection, mark, _answer(stored))
    except _Undone:
        assert found is not None
        return replace(found, subscription_id=None)
    return found


async def create_all(
    ground: Ground,
    wishes: Sequence[Wish],
    mark: RequestMark,
    actor: Actor | None,
    *,
    skip_existing: bool,
    validate_only: bool,
) -> Created:
    """Create many subscriptions in one transaction, all or none.

    Raises:
        QuasarError: As `create`; its violations name each entry that failed (`subscriptions[17].interval`).
    """
    stored: _Stored | None = None
    try:
        async with ground.database.transaction() as connection:
            answer = None if validate_only else await ground.requests.first_answer(connection, mark)
            if answer is not None:
                return _created(_of_answer(answer))
            plans = await planned(ground, connection, wishes, "subscriptions[{}].")
            stored = await _store(
                ground, connection, plans, actor, skip_existing=skip_existing, prefix="subscriptions[{}]"
            )
            if validate_only:
                raise _Undone
            if stored.new:
                data = counted(sorted(stored.new), created=len(stored.new), existing=len(plans) - len(stored.new))
                message = f"{len(stored.new)} subscriptions were created."
                await record(ground, connection, "SubscriptionsCreated", message, data=data, actor=actor)
            await ground.requests.remember(connection, mark, _answer(stored))
    except _Undone:
        assert stored is not None
        ids = tuple(None if one in stored.new else one for one in stored.ids)
        return replace(_created(stored), ids=ids)
    return _created(stored)


async def planned(ground: Ground, connection: Any, wishes: Sequence[Wish], prefix: str) -> list[Plan]:
    """Check wishes, all of them before the first error is raised.

    Args:
        ground: What the work stands on.
        connection: Inside the transaction.
        wishes: What is wanted.
        prefix: The path of a wish in the request; `{}` stands for its position.

    Raises:
        QuasarError: The first wish's error, with the violations of all.
    """
    known = await table.providers(connection, {wish.provider for wish in wishes})
    there = await table.hold_providers(connection, {facts.code_id for facts in known.values()})
    now = ground.clock.now()
    plans: dict[int, Plan] = {}
    problems: dict[int, QuasarError] = {}
    for place, wish in enumerate(wishes):
        facts = known.get(wish.provider.lower())
        try:
            plans[place] = plan(wish, _there(wish, facts, there), now, ground.upkeep.check_filter)
        except QuasarError as error:
            problems[place] = error
    problems.update(await missing_subjects(connection, plans))
    raise_problems(problems, prefix)
    return [plans[place] for place in range(len(wishes))]


def _there(wish: Wish, facts: ProviderFacts | None, there: set[int]) -> ProviderFacts:
    if facts is None or facts.name != wish.provider or facts.code_id not in there:
        raise unknown_provider(wish.provider)
    return facts


def raise_problems(problems: Mapping[int, QuasarError], prefix: str) -> None:
    """Raise the first of several errors, with what is wrong with each entry; nothing where there are none."""
    if not problems:
        return
    first = problems[min(problems)]
    violations: list[FieldViolation] = []
    for place in sorted(problems)[:MOST_VIOLATIONS]:
        error, path = problems[place], prefix.format(place)
        told = error.violations or (FieldViolation("", error.message),)
        violations += [FieldViolation(f"{path}{v.field}".rstrip("."), v.description, v.rule) for v in told]
    sentence = first.message
    if len(problems) > 1:
        sentence = f"{sentence.rstrip('.')}; {len(problems) - 1} more entries cannot be taken."
    raise type(first)(
        sentence, resource=first.resource, violations=violations[:MOST_VIOLATIONS], metadata=first.metadata
    )


async def _store(
    ground: Ground,
    connection: Any,
    plans: Sequence[Plan],
    actor: Actor | None,
    *,
    skip_existing: bool,
    prefix: str,
) -> _Stored:
    now = ground.clock.now()
    firsts: dict[table.Key, int] = {}
    for place, one in enumerate(plans):
        firsts.setdefault(one.key, place)
    new, existing = await store_new(connection, {key: plans[place] for key, place in firsts.items()}, actor, now)
    if not skip_existing:
        _refuse_existing(plans, firsts, existing, prefix)
    known = {**new, **existing}
    ids = tuple(known[one.key] for one in plans)
    await ground.upkeep.resolve(connection, new.values(), now)
    await keep_quota(ground, connection)
    return _Stored(ids, frozenset(new.values()))


async def store_new(
    connection: Any, plans: Mapping[table.Key, Plan], actor: Actor | None, now: dt.datetime
) -> tuple[dict[table.Key, uuid.UUID], dict[table.Key, uuid.UUID]]:
    """Store what does not exist; return the ids of what is new and of what existed.

    Raises:
        Aborted: Others kept on adding and removing the same subscriptions.
    """
    new: dict[table.Key, uuid.UUID] = {}
    existing: dict[table.Key, uuid.UUID] = {}
    for _ in range(_ATTEMPTS):
        left = [plan for key, plan in plans.items() if key not in new and key not in existing]
        new |= await table.insert(connection, left, actor, now)
        others = [plan.key for plan in left if plan.key not in new]
        # What was in the way of the insertion may have been removed before this look.
        existing |= await table.by_keys(connection, others) if others else {}
        if len(new) + len(existing) == len(plans):
            return new, existing
    raise Aborted("Others add and remove the same subscriptions at the same time; repeat the call.")


def _refuse_existing(
    plans: Sequence[Plan], firsts: Mapping[table.Key, int], existing: Mapping[table.Key, uuid.UUID], prefix: str
) -> None:
    """Refuse what exists already, and what a batch repeats.

    Raises:
        AlreadyExists: With a violation for each such entry.
    """
    problems: dict[int, QuasarError] = {}
    for place, one in enumerate(plans):
        if one.key in existing:
            problems[place] = already_exists(one, existing[one.key])
        elif firsts[one.key] != place:
            told = f"must differ from entry {firsts[one.key]}, which selects the same"
            problems[place] = AlreadyExists(f"Entry {place} {told}.", violations=[FieldViolation("", told)])
    raise_problems(problems, prefix)


def already_exists(one: Plan, subscription_id: uuid.UUID) -> AlreadyExists:
    """Return the error for a subscription of which there is one already."""
    interval = one.wish.interval or "ticks"
    told = f"{one.wish.selection.label} of {one.wish.provider} at {interval} is subscribed already: {subscription_id}"
    return AlreadyExists(
        f"{told}.", resource=resource(subscription_id), violations=[FieldViolation("", f"must be new; {told}")]
    )


async def keep_quota(ground: Ground, connection: Any, *, before: int = 0) -> None:
    """Refuse more series than may be.

    Args:
        ground: What the work stands on.
        connection: Inside the transaction that selects them.
        before: How many there were: a change that adds none is taken, even where a lower limit was set since.

    Raises:
        QuotaExceeded: With the numbers in its metadata.
    """
    total = await table.series_total(connection)
    if total > max(ground.max_series, before):
        raise QuotaExceeded(
            f"There may be at most {ground.max_series} subscribed series, would be {total}; "
            "remove subscriptions, or raise the limit.",
            resource=Resource("quota", "series"),
            metadata={"limit": str(ground.max_series), "would_be": str(total)},
        )


async def _tell_one(ground: Ground, connection: Any, found: Subscription, actor: Actor | None) -> None:
    await record(
        ground,
        connection,
        "SubscriptionCreated",
        f"{found.selection.label} of {found.wish.provider} at {found.wish.interval or 'ticks'} was subscribed.",
        subject=str(found.subscription_id),
        data={"after": found.document()},
        actor=actor,
    )


def _created(stored: _Stored) -> Created:
    new = len(stored.new)
    return Created(stored.ids, new, len(stored.ids) - new)


def _answer(stored: _Stored) -> Mapping[str, Any]:
    return {"ids": [str(one) for one in stored.ids], "new": [str(one) for one in stored.new]}


def _of_answer(answer: Mapping[str, Any]) -> _Stored:
    return _Stored(tuple(uuid.UUID(one) for one in answer["ids"]), frozenset(uuid.UUID(one) for one in answer["new"]))
