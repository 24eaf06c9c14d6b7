"""Changing, pausing, resuming and removing subscriptions, one or many at once, all or none."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from quasar.errors import FieldViolation, InvalidArgument, QuasarError
from quasar.filters import condition
from quasar.ops.actors import Actor
from registry.ground import Undone
from registry.store import subscription_table as table
from registry.store.subscription_listing import FIELDS
from registry.subscriptions.creation import already_exists, keep_quota, planned, raise_problems
from registry.subscriptions.ground import Ground, counted, hold, not_found, read, record
from registry.subscriptions.plans import Plan, Wish
from registry.subscriptions.subscriptions import State, Subscription
from registry.violations import refused

CHANGEABLE = (
    "selector",
    "interval",
    "historical",
    "live",
    "store_ticks",
    "tick_kinds",
    "cron",
    "time_zone",
    "backfill_start",
    "note",
)
"""What an update of one subscription may change."""
CHANGEABLE_TOGETHER = CHANGEABLE[2:]
"""What an update of many may change."""
_IN_WISH = {"selector": "selection"}
_VERBS = {State.PAUSED: "paused", State.ACTIVE: "resumed"}
TOLD: Final = 100
"""Subscriptions whose former state the event of a batch holds."""
_KINDS = {State.PAUSED: "Paused", State.ACTIVE: "Resumed"}


@dataclass(frozen=True, slots=True)
class Named:
    """Which subscriptions a batch is about: ids, or those that pass a filter."""

    ids: tuple[uuid.UUID, ...] = ()
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a batch."""

    matched: int
    changed: int


def check_mask(mask: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse a mask that is empty or names what cannot be changed.

    Raises:
        InvalidArgument: One violation for each wrong path.
    """
    choices = ", ".join(allowed)
    violations = [
        FieldViolation("update_mask", f"must name fields of {choices}, was {path!r}")
        for path in mask
        if path not in allowed
    ]
    if not mask:
        violations.append(FieldViolation("update_mask", f"must name at least one of {choices}, was empty"))
    if violations:
        raise refused(violations)


async def update(
    ground: Ground,
    subscription_id: uuid.UUID,
    values: Wish,
    mask: Sequence[str],
    etag: str,
    actor: Actor | None,
    *,
    validate_only: bool,
) -> Subscription:
    """Change a subscription.

    Raises:
        NotFound: There is no such subscription, or nothing that the new selection names on its own.
        EtagMismatch: It changed since it was read.
        AlreadyExists: Another one selects the same.
        InvalidArgument: The mask or a value cannot be taken.
        QuotaExceeded: The new selection would make more series than may be.
    """
    check_mask(mask, CHANGEABLE)
    after: Subscription | None = None
    with suppress(Undone):
        async with ground.database.transaction() as connection:
            before = await hold(connection, subscription_id, etag)
            wish = _merged(before.wish, values, mask)
            (one,) = await planned(ground, connection, [wish], "subscription.")
            others = await table.by_keys(connection, [one.key])
            if one.key in others and others[one.key] != subscription_id:
                raise already_exists(one, others[one.key])
            if one.wish == before.wish:
                return before
            await _store(ground, connection, subscription_id, one)
            if validate_only:
                after = replace(before, wish=one.wish)
                raise Undone
            after = await read(connection, subscription_id)
            data = {"before": before.document(), "after": after.document()}
            message = f"The subscription of {after.selection.label} of {after.wish.provider} was changed."
            await record(
                ground, connection, "SubscriptionUpdated", message, subject=str(subscription_id), data=data, actor=actor
            )
    assert after is not None
    return after


async def _store(ground: Ground, connection: Any, subscription_id: uuid.UUID, plan: Plan) -> None:
    """Store what a subscription shall be, with the series that it then selects.

    Raises:
        QuotaExceeded: There would be more series than may be.
    """
    now = ground.clock.now()
    total = await table.series_total(connection)
    await table.update(connection, subscription_id, plan, now)
    await ground.upkeep.resolve(connection, [subscription_id], now)
    await keep_quota(ground, connection, before=total)


def _merged(before: Wish, values: Wish, mask: Sequence[str]) -> Wish:
    """Return a wish with the fields of a mask changed.

    Raises:
        InvalidArgument: Neither history nor a live feed would be left.
    """
    fields: Mapping[str, Any] = {_IN_WISH.get(path, path): getattr(values, _IN_WISH.get(path, path)) for path in mask}
    wish = replace(before, **fields)
    if not (wish.historical or wish.live):
        description = "must leave historical or live set, left neither; pause the subscription to stop collecting"
        raise refused([FieldViolation("update_mask", description)])
    return wish


async def update_all(
    ground: Ground, named: Named, values: Wish, mask: Sequence[str], actor: Actor | None, *, validate_only: bool
) -> Changed:
    """Change the same fields of many subscriptions, all or none.

    Raises:
        NotFound: An id does not exist.
        InvalidFilter: The filter cannot be understood.
        QuasarError: As `update`; the violations name each subscription that failed.
    """
    check_mask(mask, CHANGEABLE_TOGETHER)
    async with ground.database.transaction() as connection:
        ids = await _named(connection, named)
        found = sorted(await table.by_ids(connection, ids), key=lambda one: str(one.subscription_id))
        wishes = _all_merged(found, values, mask)
        await _check_all(ground, connection, found, wishes)
        differing = [one for one, wish in zip(found, wishes, strict=True) if one.wish != wish]
        if not validate_only and differing:
            now = ground.clock.now()
            changed = await table.update_all(connection, ids, values, mask, now)
            after = {path: getattr(values, path) for path in mask}
            data = counted(changed, matched=len(ids), changed=len(changed))
            message = f"{len(changed)} subscriptions were changed."
            before = {
                str(one.subscription_id): {path: getattr(one.wish, path) for path in mask} for one in differing[:TOLD]
            }
            data = {**data, "before": before, "after": after}
            await record(ground, connection, "SubscriptionsUpdated", message, data=data, actor=actor)
    return Changed(len(ids), len(differing))


def _all_merged(found: Sequence[Subscription], values: Wish, mask: Sequence[str]) -> list[Wish]:
    problems: dict[int, QuasarError] = {}
    wishes: list[Wish] = []
    for place, one in enumerate(found):
        try:
            wishes.append(_merged(one.wish, values, mask))
        except InvalidArgument as error:
            problems[place] = error
    _raise_named(problems, found)
    return wishes


async def _check_all(ground: Ground, connection: Any, found: Sequence[Subscription], wishes: Sequence[Wish]) -> None:
    """Check what many subscriptions would be, naming those that cannot be so by their ids."""
    try:
        await planned(ground, connection, wishes, "{}:")
    except QuasarError as error:
        violations = []
        for violation in error.violations:
            place, _, field = violation.field.partition(":")
            named = f'subscriptions["{found[int(place)].subscription_id}"]'
            violations.append(FieldViolation(f"{named}.{field}".rstrip("."), violation.description, violation.rule))
        raise type(error)(error.message, resource=error.resource, violations=violations) from error


def _raise_named(problems: Mapping[int, QuasarError], found: Sequence[Subscription]) -> None:
    named = {
        place: type(error)(
            error.message,
            violations=[
                FieldViolation(f'subscriptions["{found[place].subscription_id}"]', v.description)
                for v in error.violations
            ],
        )
        for place, error in problems.items()
    }
    raise_problems(named, "")


async def set_state(
    ground: Ground, subscription_id: uuid.UUID, state: State, reason: str, etag: str, actor: Actor | None
) -> Subscription:
    """Pause or resume a subscription; one that is in the state already is left as it is.

    Raises:
        NotFound: There is no such subscription.
        EtagMismatch: It changed since it was read.
    """
    async with ground.database.transaction() as connection:
        before = await hold(connection, subscription_id, etag)
        if before.state is state:
            return before
        await table.set_state(connection, [subscription_id], state, reason, ground.clock.now())
        after = await read(connection, subscription_id)
        await record(
            ground,
            connection,
            f"Subscription{_KINDS[state]}",
            f"The subscription of {after.selection.label} of {after.wish.provider} was {_VERBS[state]}.",
            subject=str(subscription_id),
            data={"before": {"state": str(before.state)}, "after": {"state": str(state)}, "reason": reason or None},
            actor=actor,
        )
    return after


async def set_state_of_all(
    ground: Ground, named: Named, state: State, reason: str, actor: Actor | None, *, validate_only: bool
) -> Changed:
    """Pause or resume many subscriptions, all or none.

    Raises:
        NotFound: An id does not exist.
        InvalidFilter: The filter cannot be understood.
    """
    async with ground.database.transaction() as connection:
        ids = await _named(connection, named)
        others = [one for one in await table.by_ids(connection, ids) if one.state is not state]
        if not validate_only and others:
            changed = await table.set_state(connection, ids, state, reason, ground.clock.now())
            data = {
                **counted(changed, matched=len(ids), changed=len(changed)),
                "before": {"states": sorted({str(one.state) for one in others})},
                "after": {"state": str(state)},
                "reason": reason or None,
            }
            message = f"{len(changed)} subscriptions were {_VERBS[state]}."
            await record(ground, connection, f"Subscriptions{_KINDS[state]}", message, data=data, actor=actor)
    return Changed(len(ids), len(others))


async def delete(ground: Ground, subscription_id: uuid.UUID, etag: str, actor: Actor | None) -> int:
    """Remove a subscription; its data stays. Return how many series are no longer collected.

    Raises:
        NotFound: There is no such subscription.
        EtagMismatch: It changed since it was read.
    """
    async with ground.database.transaction() as connection:
        before = await hold(connection, subscription_id, etag)
        released = await table.series_released(connection, [subscription_id])
        await table.delete(connection, [subscription_id])
        await record(
            ground,
            connection,
            "SubscriptionDeleted",
            f"The subscription of {before.selection.label} of {before.wish.provider} was removed.",
            subject=str(subscription_id),
            data={"before": before.document(), "series_released": released},
            actor=actor,
        )
    return released


async def delete_all(ground: Ground, named: Named, actor: Actor | None, *, validate_only: bool) -> tuple[int, int]:
    """Remove many subscriptions, all or none. Return how many, and how many series are no longer collected.

    Raises:
        NotFound: An id does not exist.
        InvalidFilter: The filter cannot be understood.
    """
    async with ground.database.transaction() as connection:
        ids = await _named(connection, named)
        released = await table.series_released(connection, ids)
        if not validate_only and ids:
            gone = [one.document() for one in await table.by_ids(connection, ids[:TOLD])]
            await table.delete(connection, ids)
            data = {**counted(ids, deleted=len(ids)), "before": {"subscriptions": gone}, "series_released": released}
            message = f"{len(ids)} subscriptions were removed."
            await record(ground, connection, "SubscriptionsDeleted", message, data=data, actor=actor)
    return len(ids), released


async def _named(connection: Any, named: Named) -> list[uuid.UUID]:
    """Take the subscriptions that a batch names for the rest of the transaction.

    Raises:
        NotFound: An id does not exist.
        InvalidFilter: The filter cannot be understood.
    """
    ids: Collection[uuid.UUID] = named.ids
    if named.filter:
        ids = await table.ids_where(connection, condition(named.filter, FIELDS))
    held = await table.lock(connection, ids)
    missing = [one for one in named.ids if one not in held]
    if missing:
        error = not_found(missing[0])
        told = [FieldViolation("subscriptions.ids", f"must exist, was {one}") for one in missing[:1000]]
        raise type(error)(error.message, resource=error.resource, violations=told)
    return sorted(held, key=str)
