"""Who is a member of an index with what weight, and what differs between two states. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

WEIGHT_TOLERANCE: Final = 1e-9
"""Weights that differ by less are equal."""
REMOVED, ADDED, WEIGHT_CHANGED = "REMOVED", "ADDED", "WEIGHT_CHANGED"
ORDER: Final = {REMOVED: 0, ADDED: 1, WEIGHT_CHANGED: 2}
LEAST_HELD_BACK: Final = 10
"""Indices with fewer members take any answer that is not empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member at one time."""

    key: int
    """Number of the common symbol, or of the asset."""
    symbol: str
    """Common symbol of a user index, the asset's symbol of a provider index."""
    common_symbol: str = ""
    """What the member is mapped to; the same as the symbol in a user index."""
    weight: float | None = None
    name: str = ""
    asset_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberChange:
    """What happened to one member."""

    change: str
    """REMOVED, ADDED or WEIGHT_CHANGED."""
    symbol: str
    common_symbol: str
    weight_before: float | None
    weight_after: float | None
    time: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipDiff:
    """The difference between two states of an index."""

    changes: Sequence[MemberChange] = ()
    unchanged: int = 0
    opened: Sequence[Member] = field(default=())
    """Members of which a period begins."""
    closed: Sequence[int] = ()
    """Keys of the members of which a period ends."""

    def count(self, change: str) -> int:
        """Return how many changes are of a kind."""
        return sum(1 for each in self.changes if each.change == change)


def same_weight(first: float | None, second: float | None) -> bool:
    """Tell whether two weights are equal; no weight equals only no weight."""
    if first is None or second is None:
        return first is second
    return abs(first - second) < WEIGHT_TOLERANCE


def weight_problem(weight: float | None) -> str | None:
    """Return what is wrong with a weight, in words that follow its name; None when it is right or absent."""
    if weight is None or (math.isfinite(weight) and weight > 0):
        return None
    return f"must be finite and greater than 0, was {weight:g}"


def difference(current: Mapping[int, Member], wanted: Mapping[int, Member], time: dt.datetime) -> MembershipDiff:
    """Return what has to happen to make the members of an index others.

    Args:
        current: The members, by key.
        wanted: The members that it shall have, by key.
        time: Since when they hold.
    """
    removed = [
        _change(REMOVED, member, member.weight, None, time) for key, member in current.items() if key not in wanted
    ]
    added = [_change(ADDED, member, None, member.weight, time) for key, member in wanted.items() if key not in current]
    other = {
        key: member
        for key, member in wanted.items()
        if key in current and not same_weight(current[key].weight, member.weight)
    }
    weighted = [
        _change(WEIGHT_CHANGED, member, current[key].weight, member.weight, time) for key, member in other.items()
    ]
    return MembershipDiff(
        changes=ordered([*removed, *added, *weighted]),
        unchanged=len(wanted) - len(added) - len(weighted),
        opened=[member for key, member in wanted.items() if key not in current or key in other],
        closed=[key for key in current if key not in wanted or key in other],
    )


def ordered(changes: Iterable[MemberChange]) -> list[MemberChange]:
    """Return changes as they are shown: removals, additions, changes of weight, by symbol within each."""
    return sorted(changes, key=lambda change: (ORDER[change.change], change.symbol, change.time))


def holds_back(members: int, diff: MembershipDiff) -> bool:
    """Tell whether an answer removes so much that it is not taken without being told so."""
    return members >= LEAST_HELD_BACK and diff.count(REMOVED) * 2 > members


def _change(kind: str, member: Member, before: float | None, after: float | None, time: dt.datetime) -> MemberChange:
    return MemberChange(
        change=kind,
        symbol=member.symbol,
        common_symbol=member.common_symbol,
        weight_before=before,
        weight_after=after,
        time=time,
    )
