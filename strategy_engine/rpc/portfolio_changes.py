"""What changed between two pictures of a portfolio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quasar_proto.strategy.v1 import portfolio_pb2
from quasar_proto.strategy.v1 import portfolio_service_pb2 as pb

Key = tuple[str, ...]
_KEYS: Mapping[str, Key] = {
    "accounts": ("account_id",),
    "strategies": ("account_id", "instance_id"),
    "positions": ("account_id", "instance_id", "symbol"),
}
"""What names an entry of each list."""


class Sent:
    """What a reader knows."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._whole = b""
        self._parts: Mapping[str, Mapping[Key, bytes]] = {}

    def message(self, portfolio: portfolio_pb2.Portfolio) -> pb.WatchPortfolioResponse | None:
        """Return a message of what the reader does not know yet; None: it knows all.

        The first one is the whole picture. Later ones have the figures of the whole, and of accounts, strategies and
        positions those that changed.
        """
        first = not self._parts
        found = {name: _states(getattr(portfolio, name), fields) for name, fields in _KEYS.items()}
        whole = _whole(portfolio)
        if not first and whole == self._whole and found == self._parts:
            return None
        closed = [key for key in self._parts.get("positions", ()) if key not in found["positions"]]
        if not first:
            for name, fields in _KEYS.items():
                changed = [one for one in getattr(portfolio, name) if self._is_new(name, fields, one, found)]
                portfolio.ClearField(name)  # type: ignore[arg-type]  # one of the three
                getattr(portfolio, name).extend(changed)
        self._whole, self._parts = whole, found
        return pb.WatchPortfolioResponse(
            portfolio=portfolio,
            snapshot=first,
            closed_positions=[
                pb.PositionKey(account_id=account, instance_id=instance, symbol=symbol)
                for account, instance, symbol in closed
            ],
        )

    def _is_new(self, name: str, fields: tuple[str, ...], one: Any, found: Mapping[str, Mapping[Key, bytes]]) -> bool:
        key = _key(one, fields)
        return self._parts[name].get(key) != found[name][key]


def _key(one: Any, fields: tuple[str, ...]) -> Key:
    return tuple(getattr(one, field) for field in fields)


def _states(found: Iterable[Any], fields: tuple[str, ...]) -> dict[Key, bytes]:
    return {_key(one, fields): one.SerializeToString(deterministic=True) for one in found}


def _whole(portfolio: portfolio_pb2.Portfolio) -> bytes:
    """Return what stands for the figures of the whole; time passes without a change."""
    rest = portfolio_pb2.Portfolio()
    rest.CopyFrom(portfolio)
    for name in ("time", "oldest_price_age", *_KEYS):
        rest.ClearField(name)  # type: ignore[arg-type]  # by name
    return rest.SerializeToString(deterministic=True)
