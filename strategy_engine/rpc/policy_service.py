"""`quasar.strategy.v1.PolicyService` over `strategy_engine.policy`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from quasar.clock import Clock
from quasar.convert.plugin_orders import spec_from_proto
from quasar.errors import (
    AlreadyExists,
    EtagMismatch,
    FieldViolation,
    InvalidArgument,
    InvalidFilter,
    NotFound,
    Resource,
)
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.wellknown import timestamp
from quasar_proto.strategy.v1 import denial_pb2, policy_pb2, policy_service_pb2_grpc
from quasar_proto.strategy.v1 import policy_service_pb2 as pb
from strategy_engine.policy.limits import (
    PLATFORM,
    Granularity,
    Policy,
    Scope,
    ScopeKind,
    TradingState,
)
from strategy_engine.policy.usage import Usage, concerns, usages
from strategy_engine.rpc.policy_messages import (
    decision_message,
    denial_record,
    policy_message,
    policy_row,
    scope_of,
    state_message,
    state_of,
    usage_message,
)
from strategy_engine.rpc.values import instant_of
from strategy_engine.store.pages import Asked
from strategy_engine.store.policy_table import PolicyRow, PolicyTable, StateRow
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.states import TradingStates
from strategy_engine.trading.survey import Survey

_MOST_USAGES = 1_000
_PATHS = ("display_name", "description", "granularity", "limits", "enabled")


class PolicyService(policy_service_pb2_grpc.PolicyServiceServicer):
    """Keeps policies and trading states, and judges orders."""

    def __init__(
        self,
        table: PolicyTable,
        desk: TradingDesk,
        survey: Survey,
        states: TradingStates,
        events: Events,
        clock: Clock,
    ) -> None:
        """Serve the policies of `table`."""
        self._table = table
        self._states = states
        self._survey = survey
        self._desk = desk
        self._events = events
        self._clock = clock

    async def CreatePolicy(self, request: pb.CreatePolicyRequest, context: Any) -> pb.CreatePolicyResponse:
        """Create a policy; it holds for the next order."""
        actor = calling_actor()
        new = policy_row(request.policy, actor, self._clock.now())
        await self._known(request.policy.scope)
        await self._require_rates(new)
        if request.validate_only:
            return pb.CreatePolicyResponse(policy=policy_message(new))
        async with self._table.database.transaction() as connection:
            stored = await self._table.insert(connection, new)
            former = None if stored is not None else await self._table.get(new.policy_id, connection)
            if request.request_id and former is not None and _same(former, new):
                return pb.CreatePolicyResponse(policy=policy_message(former))
            if stored is None:
                text = f"must be new, was used before: {new.policy_id!r}"
                raise AlreadyExists(
                    f"policy_id {text}.",
                    resource=Resource("policy", new.policy_id),
                    violations=[FieldViolation("policy.policy_id", text)],
                )
            await self._record(connection, "PolicyCreated", stored, actor)
        return pb.CreatePolicyResponse(policy=policy_message(stored), broken_limits=await self._broken(stored))

    async def _require_rates(self, row: PolicyRow) -> None:
        """Refuse a limit on losses that could not be compared with the worth of an account: it would never act."""
        wanted = row.policy.limits
        if not row.enabled or wanted.max_daily_loss is None:
            return
        for account_id, currency in sorted((await self._survey.currencies()).items()):
            if not await self._concerns(row.scope, account_id) or await self._survey.rates.rate(
                currency, wanted.currency
            ):
                continue
            text = (
                f"must be {currency}, the currency of account {account_id}, or one with a stored rate to it "
                f"({wanted.currency}/{currency} or {currency}/{wanted.currency}), was {wanted.currency}"
            )
            raise InvalidArgument(
                f"policy.limits.currency {text}.", violations=[FieldViolation("policy.limits.currency", text)]
            )

    async def _concerns(self, scope: Scope, account_id: str) -> bool:
        if scope.kind is ScopeKind.STRATEGY:
            return (await self._survey.accounts_of_instances()).get(scope.id) == account_id
        return scope.kind is not ScopeKind.ACCOUNT or scope.id == account_id

    async def _record(self, connection: Any, kind: str, row: PolicyRow, actor: Actor, **more: Any) -> None:
        await self._events.record(
            connection,
            kind,
            f"Policy {row.policy_id} of {row.scope} was {kind.removeprefix('Policy').lower()}.",
            subject_type="policy",
            subject_name=row.policy_id,
            data={"after": dict(row.rules), **more},
            actor=actor,
        )

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        """Return one policy."""
        return pb.GetPolicyResponse(policy=policy_message(await self._table.get(request.policy_id)))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Any) -> pb.ListPoliciesResponse:
        """Return a page of policies."""
        found, following = await self._table.page(Asked.of(request))
        return pb.ListPoliciesResponse(policies=[policy_message(row) for row in found], next_page_token=following)

    async def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: Any) -> pb.UpdatePolicyResponse:
        """Change a policy; it holds for the next order."""
        actor, asked = calling_actor(), request.policy
        async with self._table.database.transaction() as connection:
            former = await self._table.get(asked.policy_id, connection)
            _require_etag(asked.etag, former)
            merged = _merged(policy_message(former), asked, request.update_mask.paths)
            changed = replace(policy_row(merged, actor, self._clock.now()), create_time=former.create_time)
            await self._require_rates(changed)
            if request.validate_only:
                return pb.UpdatePolicyResponse(policy=policy_message(changed))
            stored = await self._table.update(connection, changed)
            await self._record(connection, "PolicyUpdated", stored, actor, before=dict(former.rules))
        return pb.UpdatePolicyResponse(policy=policy_message(stored), broken_limits=await self._broken(stored))

    async def _broken(self, row: PolicyRow) -> list[policy_pb2.LimitUsage]:
        """Return the limits of a policy that are broken already."""
        used = await self._used([row.policy]) if row.enabled else []
        return [usage_message(each) for each in used if each.broken]

    async def _used(self, policies: Sequence[Policy]) -> list[Usage]:
        strategies = [each.scope.id for each in policies if each.scope.kind is ScopeKind.STRATEGY]
        if any(each.granularity is Granularity.EACH_STRATEGY for each in policies):
            strategies += await self._survey.accounts_of_instances()
        standing = await self._survey.standing(strategies, policies)
        return usages(policies, standing, await self._survey.currencies())

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, context: Any) -> pb.DeletePolicyResponse:
        """Delete a policy."""
        actor = calling_actor()
        async with self._table.database.transaction() as connection:
            former = await self._table.get(request.policy_id, connection)
            _require_etag(request.etag, former)
            await self._table.delete(connection, request.policy_id)
            await self._record(connection, "PolicyDeleted", former, actor)
        return pb.DeletePolicyResponse()

    async def GetPolicyUsage(self, request: pb.GetPolicyUsageRequest, context: Any) -> pb.GetPolicyUsageResponse:
        """Return how much of the limits is used, most used first."""
        policies = await self._table.enabled()
        if request.policy_id:
            await self._table.get(request.policy_id)
            policies = [each for each in policies if each.policy_id == request.policy_id]
        if request.HasField("scope"):
            scope, accounts = await self._known(request.scope), await self._survey.accounts_of_instances()
            policies = [each for each in policies if concerns(each, scope, accounts)]
        found = await self._used(policies)
        if request.HasField("min_ratio"):
            found = [each for each in found if each.ratio is None or each.ratio >= request.min_ratio]
        return pb.GetPolicyUsageResponse(
            usage=[usage_message(each) for each in found[:_MOST_USAGES]], time=timestamp(self._clock.now())
        )

    async def GetTradingState(self, request: pb.GetTradingStateRequest, context: Any) -> pb.GetTradingStateResponse:
        """Return the trading state of a scope."""
        return pb.GetTradingStateResponse(trading_state=(await self._shown([await self._known(request.scope)]))[0])

    async def _known(self, message: denial_pb2.PolicyScope) -> Scope:
        scope = scope_of(message)
        known = {
            ScopeKind.ACCOUNT: self._survey.currencies,
            ScopeKind.STRATEGY: self._survey.accounts_of_instances,
        }
        there = True
        if scope.kind in known:
            there = scope.id in await known[scope.kind]()
        elif scope.kind is ScopeKind.INSTRUMENT:
            there = await self._desk.knows(scope.id)
        if not there:
            raise NotFound(f"There is no {scope}.", resource=Resource(scope.kind.value.lower(), scope.id))
        return scope

    async def _shown(self, scopes: Sequence[Scope]) -> list[policy_pb2.TradingStateRecord]:
        states = {row.scope: row for row in await self._table.states(self._clock.now())}
        owned = any(scope.kind is ScopeKind.STRATEGY for scope in scopes)
        accounts = await self._survey.accounts_of_instances() if owned else {}
        return [self._effective(scope, states, accounts) for scope in scopes]

    def _effective(
        self, scope: Scope, states: Mapping[Scope, StateRow], accounts: Mapping[str, str]
    ) -> policy_pb2.TradingStateRecord:
        now = self._clock.now()
        usual = StateRow(scope=scope, state=TradingState.ACTIVE, reason="", actor=None, set_time=None)
        own = states.get(scope, usual)
        around = [PLATFORM]
        if scope.kind is ScopeKind.STRATEGY:
            around.append(Scope(ScopeKind.ACCOUNT, accounts.get(scope.id, "")))
        above = [states[each] for each in around if each in states]
        return state_message(own, max([own, *above], key=lambda row: row.at(now).severity), now)

    async def SetTradingState(self, request: pb.SetTradingStateRequest, context: Any) -> pb.SetTradingStateResponse:
        """Set the trading state of a scope; it holds for the next order."""
        expire_time = instant_of(request, "expire_time")
        _require_expiry(expire_time, state_of(request.state), self._clock.now())
        actor, scope = calling_actor(), await self._known(request.scope)
        new = StateRow(
            scope=scope,
            state=state_of(request.state),
            reason=request.reason,
            actor=actor,
            set_time=self._clock.now(),
            expire_time=expire_time,
        )
        await self._states.set(new)
        cancelled = await self._states.withdraw(new) if request.cancel_open_orders else []
        return pb.SetTradingStateResponse(
            trading_state=(await self._shown([scope]))[0],
            cancelled_client_order_ids=[order.client_order_id for order in cancelled],
        )

    async def ListTradingStates(
        self, request: pb.ListTradingStatesRequest, context: Any
    ) -> pb.ListTradingStatesResponse:
        """Return a page of the trading states that were set, the strictest first."""
        rows, following = await self._table.state_page(Asked.of(request))
        shown = await self._shown([row.scope for row in rows])
        return pb.ListTradingStatesResponse(trading_states=shown, next_page_token=following)

    async def CheckOrder(self, request: pb.CheckOrderRequest, context: Any) -> pb.CheckOrderResponse:
        """Judge an order without placing it, and say how it stands to each rule."""
        spec = spec_from_proto(request.order)
        await self._survey.require_owner(request.account_id, request.instance_id)
        decision, proposal = await self._desk.judge(request.account_id, request.instance_id, spec)
        return pb.CheckOrderResponse(decision=decision_message(decision, proposal, self._clock.now()))

    async def ListDenials(self, request: pb.ListDenialsRequest, context: Any) -> pb.ListDenialsResponse:
        """Return a page of denied orders, newest first."""
        if request.order_by not in ("", "time", "time desc"):
            text = f"must be time or time desc, was {request.order_by}"
            raise InvalidFilter(f"order_by {text}.", violations=[FieldViolation("order_by", text)])
        rows, following = await self._table.denials(Asked.of(request), oldest_first=request.order_by == "time")
        return pb.ListDenialsResponse(denials=[denial_record(row) for row in rows], next_page_token=following)


def _require_expiry(expire_time: dt.datetime | None, state: TradingState, now: dt.datetime) -> None:
    if expire_time is None:
        return
    text = ""
    if state is TradingState.ACTIVE:
        text = "must be left out with ACTIVE, which a scope returns to"
    elif expire_time <= now:
        text = f"must lie in the future, was {expire_time.isoformat()}"
    if text:
        raise InvalidArgument(f"expire_time {text}.", violations=[FieldViolation("expire_time", text)])


def _same(one: PolicyRow, other: PolicyRow) -> bool:
    names = ("scope", "description", "rules", "enabled")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _require_etag(etag: str, row: PolicyRow) -> None:
    if etag and etag != str(row.revision):
        raise EtagMismatch(resource=Resource("policy", row.policy_id), metadata={"etag": str(row.revision)})


def _merged(former: policy_pb2.Policy, asked: policy_pb2.Policy, paths: Any) -> policy_pb2.Policy:
    """Return the former policy with the named fields of the wanted one."""
    if not paths:
        raise _bad_mask("must name what changes, was empty")
    for path in paths:
        head, _, limit = path.partition(".")
        if head not in _PATHS or (limit and limit not in policy_pb2.PolicyLimits.DESCRIPTOR.fields_by_name):
            raise _bad_mask(f"must be among {', '.join(_PATHS)}, limits.<field>, was {path}")
        if limit:
            FieldMask(paths=[limit]).MergeMessage(asked.limits, former.limits, True, True)
            if not _is_set(asked.limits, limit):
                former.limits.ClearField(limit)
        elif path == "limits":
            former.limits.CopyFrom(asked.limits)
        else:
            setattr(former, path, getattr(asked, path))
    return former


def _is_set(message: policy_pb2.PolicyLimits, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in message.ListFields())


def _bad_mask(text: str) -> InvalidArgument:
    return InvalidArgument(f"update_mask {text}.", violations=[FieldViolation("update_mask", text)])
