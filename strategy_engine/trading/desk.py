"""The desk that every order passes: judged, recorded, then sent; a repetition never makes a second order."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from quasar.clock import Clock
from quasar.engine.live import LiveBar, LiveTick
from quasar.errors import (
    AlreadyExists,
    BrokerRejected,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    Resource,
)
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderChange, OrderSide, OrderSpec, OrderType, client_order_id
from quasar.ops.actors import Actor
from strategy_engine.policy.decision import Decision
from strategy_engine.policy.judgement import judge
from strategy_engine.policy.limits import Policy
from strategy_engine.policy.standing import Proposal
from strategy_engine.store.order_table import recorded
from strategy_engine.trading import changes
from strategy_engine.trading.denials import denial_document
from strategy_engine.trading.floor import PaperFloor
from strategy_engine.trading.hours import hours_of
from strategy_engine.trading.orders import ENGINE, Changed, NewOrder, Outcome, StatusOutcome, StoredOrder
from strategy_engine.trading.quotes import Quote, Quotes, proposal_facts
from strategy_engine.trading.records import TradeRecords
from strategy_engine.trading.survey import Survey

Listener = Callable[[Sequence[Changed]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that was placed or denied."""

    order: StoredOrder
    exits: Sequence[StoredOrder]
    decision: Decision | None
    """None: the order was there before."""
    proposal: Proposal | None = None


class TradingDesk:
    """Places and cancels orders, and hands live prices to the paper broker. Takes turns, so that its books agree."""

    def __init__(self, records: TradeRecords, survey: Survey, floor: PaperFloor, quotes: Quotes, clock: Clock) -> None:
        """Trade on the paper floor.

        Args:
            records: Writes what happens.
            survey: Tells how things stand.
            floor: Works the orders.
            quotes: The newest prices.
            clock: The time.
        """
        self.records = records
        self._survey = survey
        self.floor = floor
        self._quotes = quotes
        self._clock = clock
        self.turn = asyncio.Lock()
        """Held while the books move: what moves them from elsewhere takes it too."""
        self._torn = False
        """What moved in memory was not recorded: the books are made anew from the rows before they move again."""
        self._listeners: list[Listener] = []
        self.want: Callable[[tuple[str, str, str]], None] = _nobody
        """Asks for live prices of a series that is traded: provider, symbol and interval."""

    def listen(self, listener: Listener) -> None:
        """Have every change told, in order; listeners must not wait for the desk."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell nothing more."""
        self._listeners.remove(listener)

    async def quote(self, symbol: str) -> Quote:
        """Return what is known of an instrument.

        Raises:
            NotFound: There is no such symbol with stored data.
        """
        found = await self._quotes.get(symbol)
        if found is None:
            raise NotFound(f"There is no symbol {symbol!r} with stored data.", resource=Resource("symbol", symbol))
        return found

    async def knows(self, symbol: str) -> bool:
        """Tell whether there is such a symbol, also while the DataHub is away."""
        return await self._quotes.exists(symbol)

    def mark(self, symbol: str) -> Decimal | None:
        """Return the newest price of an instrument that is followed, or None."""
        quote = self._quotes.known(symbol)
        return None if quote is None else quote.price

    async def judge(
        self, account_id: str, instance_id: str, spec: OrderSpec, *, closing: bool = False, running: bool = True
    ) -> tuple[Decision, Proposal]:
        """Judge an order without placing it; `closing` and `running` as in `Proposal`.

        Raises:
            NotFound: There is no such account.
        """
        policies = await self.records.policies.enabled()
        proposal = await self._proposal(account_id, instance_id, spec, policies)
        proposal = replace(proposal, closing=closing, running=running)
        standing = await self._survey.standing([instance_id], policies)
        return judge(proposal, standing, policies), proposal

    async def _proposal(
        self, account_id: str, instance_id: str, spec: OrderSpec, policies: Sequence[Policy]
    ) -> Proposal:
        account = await self.records.accounts.get(account_id)
        quote = await self._quotes.get(spec.symbol)
        age = (self._clock.time_ns() - quote.time_ns) / 1e9 if quote and quote.time_ns else 0.0
        proposal = Proposal(
            account_id=account_id,
            instance_id=instance_id,
            spec=spec,
            known=quote is not None,
            currency=quote.facts.currency or account.currency if quote else account.currency,
            price=quote.price if quote else None,
            price_age_s=max(0.0, age),
            hours=await hours_of(policies, quote.facts if quote else None, self._clock.now()),
        )
        return proposal if quote is None else replace(proposal, **proposal_facts(quote.facts))

    async def judge_change(self, order: StoredOrder, change: OrderChange) -> tuple[Decision, Proposal]:
        """Judge a change of an order: what would be left of it as if it were new, without the order as it is."""
        wanted = changes.changed(order.spec, change)
        rest = wanted if wanted.quantity is None else replace(wanted, quantity=wanted.quantity - order.filled_quantity)
        policies = await self.records.policies.enabled()
        proposal = await self._proposal(order.account_id, order.instance_id, replace(rest, bracket=None), policies)
        if (denial := changes.below_filled(order, wanted)) is not None:
            return denial, proposal
        proposal = replace(proposal, filled=order.filled_quantity)
        standing = await self._survey.standing([order.instance_id], policies)
        others = [each for each in standing.open_orders if each.client_order_id != order.client_order_id]
        return judge(proposal, replace(standing, open_orders=others), policies), proposal

    async def change(
        self,
        client_order_id: str,
        change: OrderChange,
        *,
        revision: int = 0,
        request_id: str = "",
        actor: Actor | None,
        decide_time_ns: int | None = None,
    ) -> tuple[StoredOrder, Decision | None]:
        """Change the terms of an order that works, through policy; a denied order stays as it was.

        Returns:
            The order as it stands then, and the decision; None: the request was carried out before.

        Raises:
            NotFound: There is no such order.
            FailedPrecondition: It does not work.
            EtagMismatch: It has another revision.
            AlreadyExists: The request id was used for another change.
            BrokerRejected: It has no such price.
        """
        async with self.turn:
            await self._mend()
            order = await self.records.orders.get(client_order_id)
            document = changes.change_document(change)
            former = await self.records.orders.change_of(client_order_id, request_id) if request_id else None
            if former is not None:
                _require_same_change(former == document)
                return order, None
            changes.require_changeable(order, revision)
            decision, _ = await self.judge_change(order, change)
            if not decision.allowed:
                await self.records.deny_change(order, document, decision.denials, actor, self._clock.now())
                return order, decision
            await self.records.request_change(order, document, request_id, actor)
            try:
                await self._take(await self.floor.replace(order, change, decide_time_ns), actor)
            except (InvalidArgument, FailedPrecondition) as error:
                raise BrokerRejected(error.message, resource=Resource("order", client_order_id)) from error
            return await self.records.orders.get(client_order_id), decision

    async def withdraw(self, account_id: str) -> None:
        """Cancel every open order of an account; for a caller that has the turn."""
        for order in await self.records.orders.open(account_id):
            await self._take(await self.floor.cancel(order))

    async def place(self, new: NewOrder) -> Placed:
        """Place an order: judged by policy, recorded before it is sent.

        Raises:
            NotFound: There is no such account.
            AlreadyExists: The id was used for another order.
        """
        async with self.turn:
            await self._mend()
            former = await self.records.orders.find(new.client_order_id)
            if former is not None:
                return await self._repeated(former, new)
            how = {"closing": new.origin == ENGINE and new.spec.reduce_only, "running": new.running}
            decision, proposal = await self.judge(new.account_id, new.instance_id, new.spec, **how)
            order = self._recorded(new, decision, proposal)
            exits = () if order.status is OrderStatus.DENIED else _exits(order)
            if not await self.records.record(order, exits, decision.denials, self._clock.now()):
                return await self._repeated(await self.records.orders.get(new.client_order_id), new)
            await self._tell([Changed(order, None), *(Changed(child, None) for child in exits)])
            if order.status is not OrderStatus.DENIED:
                self._follow(order.spec.symbol)
                self._torn = True
                await self._take(await self.floor.place(order, exits))
            after = await self.records.orders.find_all([order.client_order_id, *(e.client_order_id for e in exits)])
            ids = {each.client_order_id: each for each in after}
            return Placed(ids[order.client_order_id], [ids[each.client_order_id] for each in exits], decision, proposal)

    def _follow(self, symbol: str) -> None:
        quote = self._quotes.known(symbol)
        if quote is not None:
            self.want((quote.facts.provider, quote.facts.symbol, quote.facts.interval))

    def _recorded(self, new: NewOrder, decision: Decision, proposal: Proposal) -> StoredOrder:
        denied = bool(decision.denials)
        text = "; ".join(check.detail or check.reason for check in decision.denials)
        spec = new.spec
        if spec.notional is not None and not denied:
            spec = replace(spec, notional=None, quantity=decision.quantity)
        order = recorded(
            new,
            self._clock.now(),
            spec=spec,
            currency=proposal.currency,
            reference_price=proposal.price,
            status=OrderStatus.DENIED if denied else OrderStatus.PENDING_NEW,
            status_text=text,
            denials=[denial_document(check, self._clock.now()) for check in decision.denials],
        )
        return order if not denied else replace(order, final_time=order.create_time)

    async def _repeated(self, former: StoredOrder, new: NewOrder) -> Placed:
        if former.account_id != new.account_id or former.asked != new.spec:
            description = "must be new for another order, was used before"
            raise AlreadyExists(f"request_id {description}.", violations=[FieldViolation("request_id", description)])
        children = [child_id(former.client_order_id, leg) for leg in (1, 2)]
        return Placed(former, await self.records.orders.find_all(children), None)

    async def cancel(self, client_order_id: str, *, actor: Actor | None = None, reason: str = "") -> StoredOrder:
        """Cancel an order; one that has ended stays as it is. That a person asked for it is recorded, with the reason.

        Raises:
            NotFound: There is no such order.
        """
        async with self.turn:
            await self._mend()
            order = await self.records.orders.get(client_order_id)
            if not order.status.is_final:
                if actor is not None:
                    await self.records.request_cancel(order, reason, actor)
                await self._take(await self.floor.cancel(order), actor)
            return await self.records.orders.get(client_order_id)

    async def cancel_all(
        self,
        *,
        account_id: str = "",
        instance_id: str = "",
        symbol: str = "",
        side: OrderSide | None = None,
        actor: Actor | None = None,
        reason: str = "",
    ) -> list[StoredOrder]:
        """Cancel the open orders that fit, and return them as they stand then."""
        found = await self.open_orders(account_id=account_id, instance_id=instance_id, symbol=symbol, side=side)
        return [await self.cancel(order.client_order_id, actor=actor, reason=reason) for order in found]

    async def open_orders(
        self, *, account_id: str = "", instance_id: str = "", symbol: str = "", side: OrderSide | None = None
    ) -> list[StoredOrder]:
        """Return the open orders that fit."""
        return [
            order
            for order in await self.records.orders.open(account_id)
            if instance_id in ("", order.instance_id)
            and symbol in ("", order.spec.symbol)
            and side in (None, order.spec.side)
        ]

    async def on_bars(self, bars: Sequence[LiveBar]) -> None:
        """Work orders on bars that closed at one instant."""
        async with self.turn:
            await self._mend()
            await self._take(self.floor.on_bars(bars))

    async def on_ticks(self, ticks: Sequence[LiveTick]) -> None:
        """Work orders on ticks."""
        async with self.turn:
            await self._mend()
            await self._take(self.floor.on_ticks(ticks))

    async def restore(self) -> None:
        """Have the orders that were open before a restart work again; what was never sent is sent now."""
        async with self.turn:
            self._torn = True
            await self._mend()

    async def _mend(self) -> None:
        """Make the books from the rows where the last move was not recorded; for a caller that has the turn."""
        if not self._torn:
            return
        self.floor.forget_all()
        await self.floor.restore_all()
        opened = await self.records.orders.open()
        for order in opened:
            self._follow(order.spec.symbol)
        await self._take([_accepted(order) for order in opened if order.status is OrderStatus.PENDING_NEW])
        self._torn = False

    async def _take(self, outcomes: Sequence[Outcome], actor: Actor | None = None) -> None:
        if not outcomes:
            return
        self._torn = True
        changed = await self.records.take(outcomes, self._clock.now(), actor)
        self._torn = False
        if any(each.fill is not None for each in changed):
            await self._survey.mark_equity({each.order.account_id for each in changed}, self._clock.now())
        await self._tell(changed)

    async def _tell(self, changed: Sequence[Changed]) -> None:
        for listener in tuple(self._listeners):
            await listener(changed)


def _require_same_change(same: bool) -> None:
    if not same:
        description = "must be new for another change, was used before"
        raise AlreadyExists(f"request_id {description}.", violations=[FieldViolation("request_id", description)])


def _nobody(_key: tuple[str, str, str]) -> None:
    return None


def _accepted(order: StoredOrder) -> Outcome:
    return StatusOutcome(client_order_id=order.client_order_id, status=OrderStatus.ACCEPTED)


def child_id(parent: str, leg: int) -> str:
    """Return the id of the exit of an order: 1 its stop-loss, 2 its take-profit."""
    return client_order_id(uuid.UUID(parent), 0, leg)


def _exits(order: StoredOrder) -> list[StoredOrder]:
    """Return the exits of a bracket, held until their entry fills."""
    bracket = order.spec.bracket
    if bracket is None:
        return []
    found = []
    for leg, terms in ((1, bracket.stop_loss), (2, bracket.take_profit)):
        if terms is None:
            continue
        kind = OrderType.LIMIT if leg == 2 else OrderType.STOP if terms.limit_price is None else OrderType.STOP_LIMIT
        spec = OrderSpec(
            symbol=order.spec.symbol,
            side=order.spec.side.opposite,
            type=OrderType.TRAILING_STOP if terms.trailing else kind,
            quantity=order.spec.quantity,
            limit_price=terms.price if leg == 2 else terms.limit_price,
            trigger_price=terms.price if leg == 1 else None,
            trailing_offset=terms.offset if terms.trailing else None,
            time_in_force=bracket.exit_time_in_force,
            reduce_only=True,
            tag=order.spec.tag,
        )
        found.append(
            replace(
                order,
                client_order_id=_leg_id(order, leg),
                spec=spec,
                asked=spec,
                status=OrderStatus.HELD,
                leg=leg,
                parent_client_order_id=order.client_order_id,
            )
        )
    return found


def _leg_id(order: StoredOrder, leg: int) -> str:
    if order.run_id is not None and order.intent_number:
        return client_order_id(order.run_id, order.intent_number, leg)
    return child_id(order.client_order_id, leg)
