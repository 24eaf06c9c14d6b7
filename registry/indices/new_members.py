"""The members that a user gives an index: checked, and found among the common symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.errors import FieldViolation, InvalidArgument, NotFound, Resource
from registry.indices.membership import Member, weight_problem
from registry.store.statements import SQL
from registry.store.texts import lowered


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member to set."""

    common_symbol: str
    weight: float | None


async def wanted_members(connection: Any, members: Sequence[NewMember]) -> dict[int, Member]:
    """Return the members of a save by the number of their common symbol.

    Raises:
        InvalidArgument: A member is given twice, or a weight is wrong.
        NotFound: A member is no common symbol.
    """
    names = [member.common_symbol.strip() for member in members]
    rows = await connection.fetch(SQL["index_known_symbols"], sorted({lowered(name) for name in names}))
    known = {row["folded"]: row for row in rows}
    _check_members(members, names, known)
    wanted = {}
    for member, name in zip(members, names, strict=True):
        row = known[lowered(name)]
        wanted[row["common_symbol_id"]] = Member(
            key=row["common_symbol_id"], symbol=row["symbol"], common_symbol=row["symbol"], weight=member.weight
        )
    return wanted


def _check_members(members: Sequence[NewMember], names: Sequence[str], known: Mapping[str, Any]) -> None:
    first: dict[str, int] = {}
    violations = []
    for place, (member, name) in enumerate(zip(members, names, strict=True)):
        earlier = first.setdefault(lowered(name), place)
        if earlier != place:
            description = f"must be given once, was given in members[{earlier}] too: {name!r}"
            violations.append(FieldViolation(f"members[{place}].common_symbol", description))
        problem = weight_problem(member.weight)
        if problem is not None:
            violations.append(FieldViolation(f"members[{place}].weight", problem))
    if violations:
        raise InvalidArgument(f"{violations[0].field} {violations[0].description}.", violations=violations)
    missing = [
        FieldViolation(f"members[{place}].common_symbol", f"must be a common symbol, was {name!r}")
        for place, name in enumerate(names)
        if lowered(name) not in known
    ]
    if missing:
        listed = ", ".join(repr(names[place]) for place in range(len(names)) if lowered(names[place]) not in known)
        raise NotFound(
            f"There are no common symbols {listed[:1000]}; create them first.",
            violations=missing,
            resource=Resource("common symbol", next(name for name in names if lowered(name) not in known)),
        )
