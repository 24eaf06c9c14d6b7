"""Judges an order by every rule that applies to it, and says for each with which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from quasar.errors import InvalidArgument
from quasar.model.orders import OrderSide, check_spec
from strategy_engine.policy.decision import Check, Decision
from strategy_engine.policy.instrument_rules import instrument_checks
from strategy_engine.policy.limits import Limits, Policy, Scope, ScopeKind, TradingState
from strategy_engine.policy.standing import ZERO, Exposed, Funds, Proposal, Standing, scopes_of


def judge(proposal: Proposal, standing: Standing, policies: Iterable[Policy]) -> Decision:
    """Judge an order: the rules of the platform first, then every policy of its scopes."""
    case = _Case(proposal, standing)
    scopes = scopes_of(proposal)
    own = [policy for policy in policies if policy.scope in scopes]
    checks = [*_form(case), *_instrument_rules(case), *_states(case), *_account(case), _self_trade(case, own)]
    for policy in own:
        part = policy.part(proposal.account_id, proposal.instance_id, proposal.spec.symbol)
        if part is not None:
            checks += (_of(policy, check) for check in _limits(case, policy.limits, part))
    notional = None if case.quantity is None or case.price is None else case.quantity * case.price * proposal.multiplier
    return Decision(
        checks=checks,
        quantity=case.quantity,
        notional=notional,
        position_before=case.before,
        position_after=case.after,
    )


class _Case:
    """The numbers of one order."""

    def __init__(self, proposal: Proposal, standing: Standing) -> None:
        self.proposal = proposal
        self.standing = standing
        self.spec = proposal.spec
        self.quantity = proposal.quantity
        self.price = proposal.work_price
        self.sign = 1 if self.spec.side is OrderSide.BUY else -1
        self.signed = self.sign * (self.quantity or ZERO)
        self.owner = (
            Scope(ScopeKind.STRATEGY, proposal.instance_id)
            if proposal.instance_id
            else Scope(ScopeKind.ACCOUNT, proposal.account_id)
        )
        self.before = standing.position(self.owner, proposal)
        self.after = self.before + self.signed

    @property
    def increases(self) -> bool:
        """Whether it would open, enlarge or reverse the position of its owner, open orders of its side included."""
        if self.spec.reduce_only:
            return False
        waiting = self.standing.waiting(self.owner, self.spec.symbol, self.sign)
        after = self.before + waiting + self.signed
        return abs(after) > abs(self.before) or after * self.before < 0

    def worth(self, price: Decimal, unit: str) -> Decimal:
        """Return what one unit of the instrument is worth at a price, in a currency that there is a rate to."""
        return price * self.proposal.multiplier * (self.standing.rate(self.proposal.currency, unit) or ZERO)

    def position_after(self, scope: Scope) -> tuple[Decimal, Decimal]:
        """Return a scope's position before, and after the order and all open ones of its side."""
        before = self.standing.position(scope, self.proposal)
        return before, before + self.standing.waiting(scope, self.spec.symbol, self.sign) + self.signed


def _of(policy: Policy, check: Check) -> Check:
    return Check(
        reason=check.reason,
        passed=check.passed,
        scope=policy.scope,
        policy_id=policy.policy_id,
        limit=check.limit,
        value=check.value,
        value_before=check.value_before,
        unit=check.unit,
        detail=check.detail,
    )


def _form(case: _Case) -> Iterator[Check]:
    try:
        check_spec(case.spec)
        yield Check(reason="INVALID_ORDER", passed=True)
    except InvalidArgument as error:
        yield Check(reason="INVALID_ORDER", passed=False, detail=error.message)
    known = case.proposal.known
    detail = "" if known else f"symbol must be one with stored data, was {case.spec.symbol}"
    yield Check(reason="INSTRUMENT_UNKNOWN", passed=known, detail=detail)
    priced = case.proposal.price is not None
    detail = "" if priced else f"a price of {case.spec.symbol} must be known, was none"
    yield Check(reason="NO_REFERENCE_PRICE", passed=priced, detail=detail)


def _instrument_rules(case: _Case) -> Iterator[Check]:
    if case.proposal.closing:
        return  # what is held can be closed, whatever its size
    quantity = None if case.quantity is None else case.quantity + case.proposal.filled
    notional = None if quantity is None or case.price is None else quantity * case.price * case.proposal.multiplier
    scope = Scope(ScopeKind.INSTRUMENT, case.spec.symbol)
    for check in instrument_checks(case.proposal.rules, case.spec, quantity, notional):
        yield replace(check, scope=scope, unit=check.unit or case.proposal.currency)


def _states(case: _Case) -> Iterator[Check]:
    if not case.proposal.running:
        detail = f"{case.owner} must run for its orders to be sent, was paused"
        yield Check(reason="STRATEGY_NOT_RUNNING", passed=False, scope=case.owner, detail=detail)
    for scope in scopes_of(case.proposal):
        state = case.standing.states.get(scope, TradingState.ACTIVE)
        halted = state is TradingState.HALTED and not case.proposal.closing
        detail = f"trading of {scope} must be ACTIVE, was HALTED" if halted else ""
        yield Check(reason="TRADING_HALTED", passed=not halted, scope=scope, detail=detail)
        if state is TradingState.REDUCE_ONLY:
            yield Check(
                reason="TRADING_REDUCE_ONLY",
                passed=not case.increases,
                scope=scope,
                value=case.after,
                value_before=case.before,
                unit="units",
                detail=f"orders of {scope} must reduce a position, was {case.before} to {case.after}",
            )


def _account(case: _Case) -> Iterator[Check]:
    account_id = case.proposal.account_id
    scope = Scope(ScopeKind.ACCOUNT, account_id)
    funds = case.standing.funds.get(account_id)
    if case.spec.reduce_only:
        holds = case.before * case.sign < 0
        detail = "" if holds else f"there must be a position to reduce, was {case.before}"
        yield Check(reason="REDUCE_ONLY_INCREASES", passed=holds, scope=scope, detail=detail)
    if funds is None:
        return
    yield Check(reason="LIVE_TRADING_DISABLED", passed=funds.trading_enabled, scope=scope)
    if funds.currency not in ("", case.proposal.currency) and case.increases:
        wanted = case.proposal.currency
        detail = f"the account must be in {wanted}, the currency of {case.spec.symbol}, was in {funds.currency}"
        yield Check(reason="NO_EXCHANGE_RATE", passed=False, scope=scope, detail=detail)
    if not funds.allow_short:
        yield _short(case, scope)
    if case.price is not None and case.increases:
        yield _money(case, scope)
        yield from _capital(case, funds.leverage)


def _capital(case: _Case, leverage: Decimal) -> Iterator[Check]:
    """An instance that was given a capital must bear all its positions after the order with that."""
    funds = case.standing.strategy_funds.get(case.proposal.instance_id)
    if funds is None or not funds.limited:
        return
    scope = Scope(ScopeKind.STRATEGY, case.proposal.instance_id)
    before = case.standing.values(scope)
    need = sum(map(abs, _with_order(case, before, case.price or ZERO).values()), ZERO) + case.proposal.commission
    bound = funds.equity * leverage
    detail = f"positions of {scope} must be worth at most {bound}, what is left of its capital, was {need}"
    yield Check(
        reason="CAPITAL_EXCEEDED",
        passed=need <= bound,
        scope=scope,
        limit=bound,
        value=need,
        value_before=sum(map(abs, before.values()), ZERO),
        unit=case.proposal.currency,
        detail="" if need <= bound else detail,
    )


def _short(case: _Case, scope: Scope) -> Check:
    passed = case.after >= 0 or case.sign > 0 or case.spec.reduce_only
    detail = "" if passed else f"position must stay at 0 or above, was {case.after}"
    return Check(reason="SHORT_SELLING", passed=passed, scope=scope, value=case.after, unit="units", detail=detail)


def _money(case: _Case, scope: Scope) -> Check:
    """The equity must bear all positions of the account after the order."""
    account_id, price = case.proposal.account_id, case.price or ZERO
    funds = case.standing.funds[account_id]
    before = case.standing.values(scope)
    after = _with_order(case, before, price)
    need = sum(map(abs, after.values()), ZERO) + case.proposal.commission
    bound = funds.equity * funds.leverage
    return Check(
        reason="INSUFFICIENT_FUNDS",
        passed=need <= bound,
        scope=scope,
        limit=bound,
        value=need,
        value_before=sum(map(abs, before.values()), ZERO),
        unit=case.proposal.currency,
        detail="" if need <= bound else f"positions must be worth at most {bound} of equity, was {need}",
    )


def _self_trade(case: _Case, policies: Sequence[Policy]) -> Check:
    """Denied unless a policy allows it; one that forbids it in so many words is stricter than one that allows it."""
    scope = Scope(ScopeKind.ACCOUNT, case.proposal.account_id)
    said = [policy for policy in policies if policy.limits.allow_self_trade is not None]
    forbidding = [policy for policy in said if not policy.limits.allow_self_trade]
    if said and not forbidding:
        return Check(reason="SELF_TRADE", passed=True, scope=said[0].scope, policy_id=said[0].policy_id)
    met = case.standing.met(case.proposal)
    detail = ""
    if met is not None:
        detail = f"the order must not trade against {met.client_order_id} of the same account at {met.resting_price}"
    check = Check(reason="SELF_TRADE", passed=met is None, scope=scope, detail=detail)
    return _of(forbidding[0], check) if forbidding else check


def _with_order(
    case: _Case, values: dict[tuple[str, str, str], Decimal], price: Decimal
) -> dict[tuple[str, str, str], Decimal]:
    key = (case.proposal.account_id, case.proposal.instance_id, case.spec.symbol)
    added = case.signed * price * case.proposal.multiplier
    return {**values, key: values.get(key, ZERO) + added}


def _bound(reason: str, limit: Decimal, value: Decimal, before: Decimal | None, unit: str) -> Check:
    passed = value <= limit or (before is not None and value <= before)
    words = reason.removeprefix("MAX_").replace("_", " ").lower()
    detail = "" if passed else f"{words} must be at most {limit} {unit}, was {value}"
    return Check(reason=reason, passed=passed, limit=limit, value=value, value_before=before, unit=unit, detail=detail)


def _limits(case: _Case, limits: Limits, scope: Scope) -> Iterator[Check]:
    unit = limits.currency or case.proposal.currency
    if missing := _without_rate(case, limits, scope, unit):
        yield _no_rate(case, missing, unit)
        limits = limits.without_amounts()
    yield from _order_size(case, limits, unit)
    yield from _instrument(case, limits)
    for check in (*_position(case, limits, scope, unit), *_exposure(case, limits, scope, unit)):
        # What only reduces a position is never denied by these.
        yield check if case.increases else replace(check, passed=True, detail="")
    yield from _pace(case, limits, scope)
    yield from _losses(case, limits, scope, unit)
    yield from _prices(case, limits)


def _without_rate(case: _Case, limits: Limits, scope: Scope, unit: str) -> list[str]:
    """Return the currencies that limits of amounts are to be compared with and have no rate to theirs."""
    if not (limits.amounts or limits.max_leverage is not None):
        return []
    concerned = {case.proposal.currency, *case.standing.currencies(scope, case.proposal.account_id)}
    return sorted(each for each in concerned if case.standing.rate(each, unit) is None)


def _no_rate(case: _Case, missing: Sequence[str], wanted: str) -> Check:
    """An amount in another currency without a rate cannot be judged, so what enlarges is denied."""
    pairs = ", ".join(f"{each}/{wanted} or {wanted}/{each}" for each in missing)
    detail = f"a rate to {wanted} must be stored to judge by it ({pairs}), was none"
    passed = not case.increases
    return Check(reason="NO_EXCHANGE_RATE", passed=passed, detail="" if passed else detail)


def _order_size(case: _Case, limits: Limits, unit: str) -> Iterator[Check]:
    price = case.price
    quantity = None if case.quantity is None else case.quantity + case.proposal.filled
    if limits.max_order_quantity is not None and quantity is not None:
        yield _bound("MAX_ORDER_QUANTITY", limits.max_order_quantity, quantity, None, "units")
    if limits.max_order_notional is not None and quantity is not None and price is not None:
        value = quantity * case.worth(price, unit)
        yield _bound("MAX_ORDER_NOTIONAL", limits.max_order_notional, value, None, unit)


def _instrument(case: _Case, limits: Limits) -> Iterator[Check]:
    symbol, own = case.spec.symbol, case.proposal
    facts = symbol, own.currency, own.asset_class, own.exchange
    if limits.forbidden:
        hit = any(each.fits(*facts, unknown=True) for each in limits.forbidden)
        detail = f"symbol must not be among the forbidden ones, was {symbol}" if hit else ""
        yield Check(reason="INSTRUMENT_FORBIDDEN", passed=not hit, detail=detail)
    if limits.allowed:
        fits = any(each.fits(*facts) for each in limits.allowed)
        detail = "" if fits else f"symbol must be among the allowed ones, was {symbol}"
        yield Check(reason="INSTRUMENT_NOT_ALLOWED", passed=fits, detail=detail)
    if limits.sessions and not own.closing:
        passed = own.hours is not None and any(each.holds(own.hours) for each in limits.sessions)
        asked = "" if own.hours is None else f"{own.hours.time:%A %H:%M} UTC"
        detail = "" if passed else f"orders must come in {' or '.join(map(str, limits.sessions))}, was {asked}"
        yield Check(reason="OUTSIDE_SESSION", passed=passed, detail=detail)
    if limits.forbidden_order_types:
        hit = case.spec.type.value in limits.forbidden_order_types
        detail = f"order type must not be {case.spec.type.value}" if hit else ""
        yield Check(reason="ORDER_TYPE_FORBIDDEN", passed=not hit, detail=detail)
    if limits.allow_short is False:
        passed = case.after >= 0 or case.sign > 0 or case.spec.reduce_only
        detail = "" if passed else f"position must stay at 0 or above, was {case.after}"
        yield Check(reason="SHORT_SELLING", passed=passed, value=case.after, unit="units", detail=detail)


def _position(case: _Case, limits: Limits, scope: Scope, unit: str) -> Iterator[Check]:
    before, after = case.position_after(scope)
    if limits.max_position_quantity is not None:
        yield _bound("MAX_POSITION_QUANTITY", limits.max_position_quantity, abs(after), abs(before), "units")
    if limits.max_position_notional is not None and case.price is not None:
        bound, worth = limits.max_position_notional, case.worth(case.price, unit)
        yield _bound("MAX_POSITION_NOTIONAL", bound, abs(after * worth), abs(before * worth), unit)


def _exposure(case: _Case, limits: Limits, scope: Scope, unit: str) -> Iterator[Check]:
    if case.price is None or not limits.bounds_exposure:
        return
    added = case.signed * case.worth(case.price, unit)
    rows = case.standing.exposed(scope, unit)
    waiting = sum((each.with_side(case.sign) for each in rows.values()), ZERO)
    net_before, net = abs(waiting), abs(waiting + added)
    # With open orders filled: beside the order those of its side, elsewhere the worse side.
    own = rows.pop((case.proposal.account_id, case.proposal.instance_id, case.spec.symbol), Exposed())
    others, value = sum((each.worst for each in rows.values()), ZERO), own.with_side(case.sign)
    gross_before, gross = abs(value) + others, abs(value + added) + others
    if limits.max_gross_exposure is not None:
        yield _bound("MAX_GROSS_EXPOSURE", limits.max_gross_exposure, gross, gross_before, unit)
    if limits.max_net_exposure is not None:
        yield _bound("MAX_NET_EXPOSURE", limits.max_net_exposure, net, net_before, unit)
    equity = case.standing.equity(scope, case.proposal.account_id, unit)
    if limits.max_leverage is not None and equity > 0:
        yield _bound("MAX_LEVERAGE", limits.max_leverage, gross / equity, gross_before / equity, "times equity")


def _pace(case: _Case, limits: Limits, scope: Scope) -> Iterator[Check]:
    if limits.max_open_orders is not None:
        after = Decimal(case.standing.open_count(scope) + 1)
        yield _bound("MAX_OPEN_ORDERS", Decimal(limits.max_open_orders), after, None, "orders")
    if limits.max_orders_per_second is not None:
        burst, window_s = limits.bucket
        recent = sum(age < window_s for age in case.standing.recent_orders.get(scope, ()))
        yield _bound("MAX_ORDER_RATE", Decimal(burst), Decimal(recent + 1), None, f"orders in {window_s:g} s")


def _losses(case: _Case, limits: Limits, scope: Scope, unit: str) -> Iterator[Check]:
    account_id = case.proposal.account_id
    funds = case.standing.funds_of(scope, account_id)
    if funds is not None and case.increases:
        yield from losses(limits, funds, case.standing.rate(case.standing.currency(account_id), unit), unit)


def losses(limits: Limits, funds: Funds, rate: Decimal | None, unit: str) -> Iterator[Check]:
    """Hold the losses of an account against the limits on them; one that is reached does not pass.

    Args:
        limits: The limits.
        funds: The money of the account.
        rate: What one unit of it is worth in the currency of the limits; None: not known, no amount is compared.
        unit: That currency.
    """
    if limits.max_daily_loss is not None and rate is not None:
        yield _loss("MAX_DAILY_LOSS", limits.max_daily_loss, funds.lost_today(limits.day_zone) * rate, unit)
    if limits.max_drawdown is not None:
        yield _loss("MAX_DRAWDOWN", limits.max_drawdown, funds.drawdown, "of the highest equity")


def _loss(reason: str, limit: Decimal, value: Decimal, unit: str) -> Check:
    passed = value < limit or not value
    words = reason.removeprefix("MAX_").replace("_", " ").lower()
    detail = "" if passed else f"{words} must be below {limit} {unit}, was {value}"
    return Check(reason=reason, passed=passed, limit=limit, value=value, unit=unit, detail=detail)


def _prices(case: _Case, limits: Limits) -> Iterator[Check]:
    reference = case.proposal.price
    if limits.max_price_age_s is not None and reference is not None:
        bound, age = Decimal(str(limits.max_price_age_s)), Decimal(str(round(case.proposal.price_age_s, 3)))
        passed = age <= bound
        detail = "" if passed else f"the price must be at most {bound} s old, was {age} s"
        yield Check(
            reason="STALE_REFERENCE_PRICE", passed=passed, limit=bound, value=age, unit="seconds", detail=detail
        )
    given = [each for each in (case.spec.limit_price, case.spec.trigger_price) if each is not None]
    if limits.price_collar is not None and given and reference:
        # In the direction that costs: a purchase above the reference price, a sale below it.
        distance = max(ZERO, *(case.sign * (each - reference) / abs(reference) for each in given))
        yield _bound("PRICE_COLLAR", limits.price_collar, distance, None, "of the reference price")
