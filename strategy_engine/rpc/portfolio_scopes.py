"""Which part of the portfolio a call is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from quasar.errors import Unimplemented
from quasar_proto.strategy.v1 import portfolio_pb2
from strategy_engine.store.account_table import AccountTable
from strategy_engine.trading.orders import Account, Held
from strategy_engine.trading.survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoped:
    """A part of the portfolio as it stands."""

    scope: portfolio_pb2.PortfolioScope
    """What was asked for; where nothing was, what is meant by that."""
    accounts: Sequence[Account]
    owner: str | None
    """The one instance that is meant; None: all that is on the accounts."""
    held: Sequence[Held]
    """Its positions, flat ones included, valued at the newest prices."""
    starts: Mapping[str, Decimal]
    """What each account, or the one instance, began with."""

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts."""
        return tuple(each.account_id for each in self.accounts)

    def currency(self, asked: str) -> str:
        """Return the currency of amounts.

        Raises:
            Unimplemented: There would be several.
        """
        currencies = sorted({each.currency for each in self.accounts})
        currency = asked or (currencies[0] if currencies else "")
        if any(each != currency for each in currencies):
            raise Unimplemented(f"all accounts must be in {currency} in this build, was {', '.join(currencies)}.")
        return currency


class PortfolioScopes:
    """Finds the parts of the portfolio."""

    def __init__(self, accounts: AccountTable, survey: Survey) -> None:
        """Look at the positions of `accounts` through `survey`."""
        self._accounts = accounts
        self._survey = survey

    async def of(self, asked: portfolio_pb2.PortfolioScope) -> Scoped:
        """Return a part; nothing set: all paper accounts, as there are none with real money.

        Raises:
            NotFound: There is no such account or instance.
            Unimplemented: A run is asked for.
        """
        scope = portfolio_pb2.PortfolioScope()
        scope.CopyFrom(asked)
        kind = scope.WhichOneof("scope")
        if kind == "run_id":
            raise Unimplemented("scope must be an account, an instance or all accounts in this build, was a run.")
        await self._survey.require_owner(scope.account_id, scope.instance_id)
        if kind is None:
            scope.accounts = portfolio_pb2.PORTFOLIO_ACCOUNTS_PAPER
        owner = scope.instance_id if kind == "instance_id" else None
        wanted = scope.account_id
        if owner is not None:
            wanted = (await self._survey.accounts_of_instances())[owner]
        found = [each for each in await self._accounts.all() if wanted in ("", each.account_id)]
        if scope.accounts not in (portfolio_pb2.PORTFOLIO_ACCOUNTS_UNSPECIFIED, portfolio_pb2.PORTFOLIO_ACCOUNTS_PAPER):
            found = []  # real and demo money are never added to that of paper accounts
        held = await self._accounts.positions(wanted, owner, include_flat=True) if found else []
        starts = {each.account_id: each.initial_cash for each in found}
        if owner is not None:
            starts = {owner: await self._survey.capital(owner)}
        return Scoped(
            scope=scope,
            accounts=found,
            owner=owner,
            held=[self._survey.priced(each) for each in held],
            starts=starts,
        )
