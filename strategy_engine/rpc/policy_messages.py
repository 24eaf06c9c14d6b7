"""Policies, trading states and judgements between messages and values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import available_timezones

from quasar.calendars import calendar_name
from quasar.errors import FieldViolation, InvalidArgument
from quasar.ops.actors import Actor
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import timestamp, timestamp_ns
from quasar_proto.strategy.v1 import denial_pb2, order_pb2, policy_pb2
from strategy_engine.policy.decision import Check, Decision
from strategy_engine.policy.limits import Granularity, Scope, ScopeKind, TradingState, limits_of
from strategy_engine.policy.sessions import INSTRUMENT
from strategy_engine.policy.standing import Proposal
from strategy_engine.policy.usage import Usage
from strategy_engine.rpc.values import decimal_message, document, message_of, money_message, number_of, word_of
from strategy_engine.store.actors import actor_of
from strategy_engine.store.policy_table import PolicyRow, StateRow
from strategy_engine.trading.denials import denial_document


def scope_of(message: denial_pb2.PolicyScope) -> Scope:
    """Return the scope that a message names."""
    return Scope(ScopeKind(word_of(denial_pb2.ScopeKind, message.kind, "SCOPE_KIND_")), message.id)


def scope_message(scope: Scope) -> denial_pb2.PolicyScope:
    """Return a scope as a message."""
    return denial_pb2.PolicyScope(kind=number_of(denial_pb2.ScopeKind, scope.kind.value, "SCOPE_KIND_"), id=scope.id)


def policy_row(policy: policy_pb2.Policy, actor: Actor, now: dt.datetime) -> PolicyRow:
    """Return a policy that is to be written.

    Raises:
        InvalidArgument: A bound is negative, an amount has no currency, a loss is bounded for each instrument, or a
            calendar or time zone is unknown.
    """
    _require_times(policy.limits)
    granularity = word_of(policy_pb2.PolicyGranularity, policy.granularity, "POLICY_GRANULARITY_") or "SCOPE"
    limits = document(policy.limits)
    read = limits_of(limits)
    if read.amounts and not policy.limits.currency:
        raise _refused("policy.limits.currency", "must be set with a limit that is an amount, was empty")
    if read.guards_losses and granularity == Granularity.EACH_INSTRUMENT.value:
        text = "must be another one with a limit on losses, which accounts and strategies make, was EACH_INSTRUMENT"
        raise _refused("policy.granularity", text)
    for name in limits:
        value = getattr(read, name, None)
        if isinstance(value, int | float) or hasattr(value, "is_finite"):
            _require_bound(name, value)
    return PolicyRow(
        policy_id=policy.policy_id,
        scope=scope_of(policy.scope),
        description=policy.description,
        rules={"display_name": policy.display_name, "granularity": granularity, "limits": limits},
        enabled=policy.enabled,
        actor=actor,
        create_time=now,
        update_time=now,
        revision=1,
    )


def _require_times(limits: policy_pb2.PolicyLimits) -> None:
    if limits.day_time_zone:
        _require_zone(limits.day_time_zone, "policy.limits.day_time_zone")
    for index, session in enumerate(limits.allowed_sessions):
        _require_session(session, f"policy.limits.allowed_sessions[{index}]")


def _require_zone(zone: str, field: str) -> None:
    if zone not in available_timezones():
        raise _refused(field, f"must be an IANA name (America/New_York), was {zone}")


def _require_session(session: policy_pb2.AllowedSession, field: str) -> None:
    """Refuse hours that nobody knows: in them nothing could be placed."""
    calendar = session.calendar
    if calendar and calendar != INSTRUMENT and calendar_name(calendar) is None:
        raise _refused(
            f"{field}.calendar", f"must be a MIC that has a calendar (XNYS), or {INSTRUMENT}, was {calendar}"
        )
    if session.window.time_zone:
        _require_zone(session.window.time_zone, f"{field}.window.time_zone")


def _refused(field: str, text: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {text}.", violations=[FieldViolation(field, text)])


def _require_bound(name: str, value: Any) -> None:
    if value < 0:
        raise _refused(f"policy.limits.{name}", f"must be at least 0, was {value}")


def policy_message(row: PolicyRow) -> policy_pb2.Policy:
    """Return a policy as a message."""
    return policy_pb2.Policy(
        policy_id=row.policy_id,
        display_name=row.rules.get("display_name", ""),
        description=row.description,
        scope=scope_message(row.scope),
        granularity=number_of(policy_pb2.PolicyGranularity, row.policy.granularity.value, "POLICY_GRANULARITY_"),
        limits=message_of(row.rules.get("limits", {}), policy_pb2.PolicyLimits),
        enabled=row.enabled,
        etag=str(row.revision),
        revision=row.revision,
        actor=actor_message(row.actor),
        create_time=timestamp(row.create_time),
        update_time=timestamp(row.update_time),
    )


def state_message(row: StateRow, effective: StateRow, now: dt.datetime) -> policy_pb2.TradingStateRecord:
    """Return a trading state as a message as it is now, with the one that decides."""
    return policy_pb2.TradingStateRecord(
        scope=scope_message(row.scope),
        state=number_of(policy_pb2.TradingState, row.at(now).value, "TRADING_STATE_"),
        effective_state=number_of(policy_pb2.TradingState, effective.at(now).value, "TRADING_STATE_"),
        effective_scope=scope_message(effective.scope),
        reason=row.reason,
        cause=number_of(denial_pb2.DenialReason, row.cause, "DENIAL_REASON_"),
        trigger=None if row.trigger is None else message_of(row.trigger, denial_pb2.Denial),
        actor=actor_message(row.actor),
        set_time=timestamp(row.set_time),
        expire_time=timestamp(row.expire_time),
    )


def state_of(number: int) -> TradingState:
    """Return the state that a number of the contract stands for."""
    return TradingState(word_of(policy_pb2.TradingState, number, "TRADING_STATE_"))


def decision_message(decision: Decision, proposal: Proposal, now: dt.datetime) -> policy_pb2.PolicyDecision:
    """Return a judgement as a message."""
    told = timestamp(now)
    message = policy_pb2.PolicyDecision(
        allowed=decision.allowed,
        checks=[_check(each) for each in decision.checks],
        denials=[message_of(denial_document(each, now), denial_pb2.Denial) for each in decision.denials],
        reference_price=decimal_message(proposal.price),
        quantity=decimal_message(decision.quantity),
        notional=money_message(decision.notional, proposal.currency),
        position_before=decimal_message(decision.position_before),
        position_after=decimal_message(decision.position_after),
        time=told,
    )
    if proposal.price is not None:
        age_ns = int(proposal.price_age_s * 1e9)
        message.reference_time.CopyFrom(timestamp_ns(max(0, int(now.timestamp() * 1e9) - age_ns)))
    return message


def _check(check: Check) -> policy_pb2.RuleCheck:
    return policy_pb2.RuleCheck(
        reason=number_of(denial_pb2.DenialReason, check.reason, "DENIAL_REASON_"),
        scope=scope_message(check.scope),
        policy_id=check.policy_id,
        passed=check.passed,
        limit=decimal_message(check.limit),
        value=decimal_message(check.value),
        value_before=decimal_message(check.value_before),
        unit=check.unit,
        detail=check.detail,
    )


def usage_message(usage: Usage) -> policy_pb2.LimitUsage:
    """Return how much of a limit is used as a message."""
    return policy_pb2.LimitUsage(
        policy_id=usage.policy_id,
        reason=number_of(denial_pb2.DenialReason, usage.reason, "DENIAL_REASON_"),
        scope=scope_message(usage.scope),
        limit=decimal_message(usage.limit),
        value=decimal_message(usage.value),
        unit=usage.unit,
        ratio=usage.ratio,
    )


def denial_record(row: Mapping[str, Any]) -> policy_pb2.DenialRecord:
    """Return a denied order as a message."""
    return policy_pb2.DenialRecord(
        denial_id=row["denial_id"],
        time=timestamp(row["time"]),
        client_order_id=row["client_order_id"],
        account_id=row["account_id"],
        instance_id=row["instance_id"],
        run_id=row["run_id"] or "",
        origin=number_of(order_pb2.OrderOrigin, row["origin"] or "", "ORDER_ORIGIN_"),
        spec=message_of(row["spec"] or {}, order_pb2.OrderSpec),
        denials=_parts(row["parts"]),
        actor=actor_message(actor_of(row["actor"])),
        change=message_of(row["change"], order_pb2.OrderChange) if row["change"] else None,
    )


def _parts(parts: Sequence[Mapping[str, Any]]) -> list[denial_pb2.Denial]:
    found = []
    for part in parts:
        message = denial_pb2.Denial(
            reason=number_of(denial_pb2.DenialReason, part["reason"], "DENIAL_REASON_"),
            scope=scope_message(Scope(ScopeKind(part["scope"]), part["scope_id"])),
            policy_id=part["policy_id"] or "",
            unit=part["unit"],
            detail=part["detail"],
        )
        for name, column in (("limit", "bound"), ("value", "value")):
            if part[column] is not None:
                getattr(message, name).value = str(part[column])
        message.time.FromDatetime(dt.datetime.fromisoformat(part["time"]).astimezone(dt.UTC))
        found.append(message)
    return found
