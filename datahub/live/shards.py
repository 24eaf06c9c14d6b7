"""Which connection of a provider carries which symbol, where a vendor limits the symbols of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """Symbols on connections."""

    number_of: Mapping[str, int] = field(default_factory=dict)
    """The connection of each symbol, counted from 0."""
    beyond: frozenset[str] = frozenset()
    """Symbols for which no connection has room."""

    @property
    def connections(self) -> int:
        """How many connections there are; one also carries nothing."""
        return max(self.number_of.values(), default=0) + 1

    def carried_by(self, number: int) -> frozenset[str]:
        """Return the symbols of a connection."""
        return frozenset(symbol for symbol, own in self.number_of.items() if own == number)


def spread(wanted: Iterable[str], former: Spread, room: int, most: int) -> Spread:
    """Put symbols on connections. What has a place keeps it; the others fill the first connections that have room.

    Args:
        wanted: The symbols.
        former: Where they were.
        room: Symbols that one connection carries; 0: any number.
        most: Connections that may be open at once.
    """
    symbols = sorted(set(wanted))
    if not room:
        return Spread(dict.fromkeys(symbols, 0))
    most = max(1, most)
    places: dict[str, int] = {}
    used = [0] * most
    for symbol in symbols:
        number = former.number_of.get(symbol, most)
        if number < most and used[number] < room:
            places[symbol] = number
            used[number] += 1
    beyond = set[str]()
    for symbol in symbols:
        if symbol in places:
            continue
        free = next((number for number in range(most) if used[number] < room), None)
        if free is None:
            beyond.add(symbol)
        else:
            places[symbol] = free
            used[free] += 1
    return Spread(places, frozenset(beyond))
