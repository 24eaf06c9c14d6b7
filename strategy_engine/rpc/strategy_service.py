"""`quasar.strategy.v1.StrategyService` over `strategy_engine.instances` and the validation of plug-ins."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

from quasar.clock import Clock
from quasar.convert.plugin_report import report_to_proto
from quasar.errors import (
    AlreadyExists,
    EtagMismatch,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    Resource,
    Unavailable,
    Unimplemented,
)
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.plugins.manifest import Kind
from quasar.plugins.validation import validate
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.strategy.v1 import strategy_pb2, strategy_service_pb2_grpc, universe_pb2
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from strategy_engine.backtests.records import NewestBars
from strategy_engine.instances.instances import Instance
from strategy_engine.instances.summaries import Summaries
from strategy_engine.instances.supervisor import GRACE_S, Supervisor
from strategy_engine.policy.limits import TradingState
from strategy_engine.rpc.instance_messages import (
    instance_message,
    instance_of,
    run_message,
)
from strategy_engine.rpc.run_calls import RunCalls
from strategy_engine.rpc.summary_messages import shown_instance
from strategy_engine.rpc.universe_messages import resolved_series, stored_universe, wanted_series
from strategy_engine.rpc.values import document, plain
from strategy_engine.store.instance_table import InstanceTable
from strategy_engine.store.pages import Asked
from strategy_engine.strategies.directory import StrategyDirectory
from strategy_engine.strategies.parameters import completed
from strategy_engine.trading.closing import close_positions
from strategy_engine.trading.desk import TradingDesk

_HEARTBEAT_S: Final = 10.0
_LOOK_S: Final = 1.0
_INTERVAL_S: Final = 1.0
_PAGE: Final = 1000
_PATHS: Final = ("display_name", "description", "labels", "code_version", "parameters", "universe", "capital", "seed")
_LATER: Final = ("schedule", "backtest_terms", "restart_policy", "limits")
"""Paths of the contract that this build does not change."""
_AT_ONCE: Final = frozenset({"display_name", "description", "labels"})
"""What else changes is taken up at the next start."""
_STARTS: Final = uuid.UUID("0b7a52e4-93a1-4f0e-8a55-2f4f6f1f7c3d")
"""Name space of the ids of runs that were begun with a request id: a repetition finds the same one."""


class StrategyService(RunCalls, strategy_service_pb2_grpc.StrategyServiceServicer):
    """Validates strategies, keeps instances, and shows what their runs tell."""

    def __init__(
        self,
        table: InstanceTable,
        supervisor: Supervisor,
        directory: StrategyDirectory,
        desk: TradingDesk,
        summaries: Summaries,
        bars: NewestBars,
        events: Events,
        draining: asyncio.Event,
        clock: Clock,
    ) -> None:
        """Serve the instances of `table`; what their universes come down to is asked of `bars`."""
        self._bars = bars
        super().__init__(table, desk, events, draining, clock)
        self._supervisor = supervisor
        self._directory = directory
        self._summaries = summaries

    async def ValidateStrategy(self, request: pb.ValidateStrategyRequest, context: Any) -> pb.ValidateStrategyResponse:
        """Read a file, then try it out in the jail; everything found is in the report."""
        report = await validate(
            Kind.STRATEGY,
            request.file_name,
            request.content,
            static_only=request.static_only,
            secrets=dict(request.secrets),
            preferences=plain(request.parameters),
            validator="strategy",
            clock=self._clock,
        )
        return pb.ValidateStrategyResponse(report=report_to_proto(report))

    async def ApplyCode(self, request: pb.ApplyCodeRequest, context: Any) -> pb.ApplyCodeResponse:
        """Say which instances use the code; runs keep their version until they are started again."""
        name = request.code.name.replace('"', "")
        found, _ = await self._table.page(Asked(filter_text=f'strategy = "{name}"', page_size=1000))
        running = [each for each in found if not each.state.still and not each.code_version]
        if not running:
            return pb.ApplyCodeResponse(state=pb.CODE_APPLY_STATE_NOT_RUNNING)
        return pb.ApplyCodeResponse(
            state=pb.CODE_APPLY_STATE_AT_NEXT_START, instance_ids=[each.instance_id for each in running]
        )

    async def CreateInstance(self, request: pb.CreateInstanceRequest, context: Any) -> pb.CreateInstanceResponse:
        """Create an instance; it does not run before it is started."""
        actor = calling_actor()
        new = await self._checked(request.instance, instance_of(request.instance, actor))
        if request.validate_only:
            return pb.CreateInstanceResponse(instance=instance_message(new))
        async with self._table.database.transaction() as connection:
            created = await self._table.insert(connection, new, self._clock.now())
            if created:
                await self._record(connection, "InstanceCreated", new)
        if not created and not await self._repeated(request, new):
            text = f"must be new, was used before: {new.instance_id!r}"
            raise AlreadyExists(
                f"instance_id {text}.",
                resource=Resource("instance", new.instance_id),
                violations=[FieldViolation("instance.instance_id", text)],
            )
        series: list[universe_pb2.ResolvedSeries] = []
        with suppress(NotFound, Unavailable):  # a series may come to be before the instance is started
            series = await self._resolved(new)
        return pb.CreateInstanceResponse(instance=await self._one(new.instance_id), series=series)

    async def _resolved(self, instance: Instance) -> list[universe_pb2.ResolvedSeries]:
        """Return the series that a universe comes down to now."""
        found = await self._bars.newest(stored_universe(instance.universe), 1)
        return [
            resolved_series(each.facts, alias=each.wanted.alias, read_only=each.wanted.read_only)
            for each in found[:_PAGE]
        ]

    async def _repeated(self, request: pb.CreateInstanceRequest, new: Instance) -> bool:
        """Tell whether the request was made before, with the same effect."""
        if not request.request_id:
            return False
        there = await self._table.get(new.instance_id)
        names = ("strategy", "code_version", "parameters", "universe", "account_id", "capital")
        return all(getattr(there, name) == getattr(new, name) for name in names)

    async def _checked(self, message: strategy_pb2.Instance, new: Instance) -> Instance:
        wanted_series(message.universe)
        entry = await self._directory.get(new.strategy, new.code_version)
        completed(entry.manifest, new.parameters)
        account = await self._desk.records.accounts.get(new.account_id)
        if new.capital_currency not in ("", account.currency):
            text = f"must be {account.currency}, the currency of account {new.account_id}, was {new.capital_currency}"
            field = "instance.capital.currency"
            raise InvalidArgument(f"{field} {text}.", violations=[FieldViolation(field, text)])
        return new

    async def _record(self, connection: Any, kind: str, instance: Instance, **data: Any) -> None:
        await self._events.record(
            connection,
            kind,
            f"Instance {instance.instance_id} of {instance.strategy}: {kind.removeprefix('Instance').lower()}.",
            subject_type="instance",
            subject_name=instance.instance_id,
            data=data,
            actor=calling_actor(),
        )

    async def _told_of(self, kind: str, instance: Instance) -> None:
        async with self._table.database.transaction() as connection:
            await self._record(connection, kind, instance)

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:
        """Return one instance."""
        instance = await self._table.get(request.instance_id)
        series = await self._resolved(instance) if request.resolve_universe else []
        return pb.GetInstanceResponse(instance=(await self._shown([instance]))[0], series=series)

    async def _one(self, instance_id: str) -> strategy_pb2.Instance:
        return (await self._shown([await self._table.get(instance_id)]))[0]

    async def _shown(self, found: Sequence[Instance]) -> list[strategy_pb2.Instance]:
        summaries = await self._summaries.of(found)
        return [shown_instance(each, summary) for each, summary in zip(found, summaries, strict=True)]

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Any) -> pb.ListInstancesResponse:
        """Return a page of instances."""
        found, following = await self._table.page(Asked.of(request))
        total = await self._table.count(request.filter) if following or request.page_token else len(found)
        return pb.ListInstancesResponse(instances=await self._shown(found), next_page_token=following, total_size=total)

    async def UpdateInstance(self, request: pb.UpdateInstanceRequest, context: Any) -> pb.UpdateInstanceResponse:
        """Change an instance; a run keeps the former settings until it is started again."""
        former = await self._table.get(request.instance.instance_id)
        _require_etag(request.instance.etag, former)
        merged = instance_message(former)
        paths = request.update_mask.paths
        if not paths:
            raise _bad_mask(f"must name what changes, among {', '.join(_PATHS)}, was empty")
        for path in paths:
            _merge(merged, request.instance, path)
        changed = await self._checked(merged, replace(instance_of(merged, former.actor), revision=former.revision))
        if not request.validate_only:
            async with self._table.database.transaction() as connection:
                restart = bool(set(paths) - _AT_ONCE)
                if not await self._table.update(connection, changed, self._clock.now(), restart=restart):
                    raise _stale(former)
                shown = [document(instance_message(each)) for each in (former, changed)]
                heads = sorted({path.partition(".")[0] for path in paths})
                before, after = ({head: each.get(head) for head in heads} for each in shown)
                await self._record(connection, "InstanceUpdated", changed, before=before, after=after)
            return pb.UpdateInstanceResponse(instance=await self._one(changed.instance_id))
        return pb.UpdateInstanceResponse(instance=instance_message(changed))

    async def DeleteInstance(self, request: pb.DeleteInstanceRequest, context: Any) -> pb.DeleteInstanceResponse:
        """Delete a stopped instance; its records stay."""
        instance = await self._table.get(request.instance_id)
        _require_etag(request.etag, instance)
        held = await self._desk.records.accounts.positions(instance.account_id, instance.instance_id)
        orders = await self._desk.open_orders(instance_id=instance.instance_id)
        if not instance.state.still or orders or (held and not request.abandon_positions):
            raise FailedPrecondition(
                f"instance {instance.instance_id} must be stopped, without open orders and hold nothing, was "
                f"{instance.state.value} with {len(orders)} open orders and {len(held)} positions.",
                resource=Resource("instance", instance.instance_id),
            )
        if not request.validate_only:
            async with self._table.database.transaction() as connection:
                await self._table.delete(connection, instance.instance_id, self._clock.now())
                await self._record(connection, "InstanceDeleted", instance)
        runs = await self._table.runs_of(instance.instance_id)
        return pb.DeleteInstanceResponse(runs=runs, abandoned_positions=len(held))

    async def StartInstance(self, request: pb.StartInstanceRequest, context: Any) -> pb.StartInstanceResponse:
        """Begin a run; of an instance that runs, return the run that goes on."""
        instance = await self._table.get(request.instance_id)
        wanted = None
        if request.request_id:
            made = f"{instance.instance_id}/{calling_actor().principal}/{request.request_id}"
            wanted = uuid.uuid5(_STARTS, made)
        if wanted is None or not await self._table.find_run(wanted):
            await self._require_may_trade(instance)
        if request.validate_only:
            await self._supervisor.startable(instance)
            return pb.StartInstanceResponse(instance=await self._one(request.instance_id))
        run_id, begun = await self._supervisor.start(instance.instance_id, paused=request.paused, run_id=wanted)
        if begun:
            await self._told_of("InstanceStarted", instance)
        row = await self._table.run(run_id)
        return pb.StartInstanceResponse(instance=await self._one(request.instance_id), run=run_message(row))

    async def _require_may_trade(self, instance: Instance) -> None:
        (summary,) = await self._summaries.of([instance])
        if instance.run_id is None and summary.trading_state is TradingState.HALTED:
            raise FailedPrecondition(
                f"instance {instance.instance_id} must not be HALTED to be started; set the trading state of it, of "
                "its account and of the platform to ACTIVE or REDUCE_ONLY first.",
                resource=Resource("instance", instance.instance_id),
            )

    async def StopInstance(self, request: pb.StopInstanceRequest, context: Any) -> pb.StopInstanceResponse:
        """End the run, then cancel its orders or close its positions where that is wanted."""
        actor = calling_actor()
        instance = await self._table.get(request.instance_id)
        grace_s = seconds(request.grace) if request.HasField("grace") else GRACE_S
        await self._supervisor.stop(instance, request.reason, grace_s)
        if not instance.state.still:
            await self._told_of("InstanceStopped", instance)
        # Without a wish the orders of a run go with it; what has stopped before stays as it was left.
        usual = strategy_pb2.STOP_ACTION_KEEP if instance.state.still else strategy_pb2.STOP_ACTION_CANCEL_ORDERS
        await self._settle(instance, request.action or usual, actor, request.reason)
        return pb.StopInstanceResponse(instance=await self._one(request.instance_id))

    async def _settle(self, instance: Instance, action: int, actor: Actor, reason: str) -> None:
        """Cancel the orders of an instance, and close its positions, as far as an action says."""
        if action in (strategy_pb2.STOP_ACTION_CANCEL_ORDERS, strategy_pb2.STOP_ACTION_FLATTEN):
            await self._desk.cancel_all(instance_id=instance.instance_id, actor=actor, reason=reason)
        if action == strategy_pb2.STOP_ACTION_FLATTEN:
            held = await self._desk.records.accounts.positions(instance.account_id, instance.instance_id)
            await close_positions(self._desk, held, f"stop/{instance.run_id or instance.last_run_id}", actor)

    async def PauseInstance(self, request: pb.PauseInstanceRequest, context: Any) -> pb.PauseInstanceResponse:
        """Let the strategy see what happens without carrying out its wishes."""
        instance = await self._table.get(request.instance_id)
        await self._supervisor.pause(instance, paused=True)
        await self._told_of("InstancePaused", instance)
        await self._settle(instance, request.action, calling_actor(), request.reason)
        return pb.PauseInstanceResponse(instance=await self._one(request.instance_id))

    async def ResumeInstance(self, request: pb.ResumeInstanceRequest, context: Any) -> pb.ResumeInstanceResponse:
        """Carry out the wishes of the strategy again."""
        instance = await self._table.get(request.instance_id)
        await self._supervisor.pause(instance, paused=False)
        await self._told_of("InstanceResumed", instance)
        return pb.ResumeInstanceResponse(instance=await self._one(request.instance_id))

    async def WatchInstances(
        self, request: pb.WatchInstancesRequest, context: Any
    ) -> AsyncGenerator[pb.WatchInstancesResponse, None]:
        """Stream all instances at once, then those that changed."""
        async with aclosing(until_drained(self._instances(request), self._draining)) as messages:
            async for message in messages:
                yield message

    async def _all(self, filter_text: str) -> list[Instance]:
        found, following = await self._table.page(Asked(filter_text=filter_text, page_size=_PAGE))
        while following:
            asked = Asked(filter_text=filter_text, page_size=_PAGE, page_token=following)
            more, following = await self._table.page(asked)
            found += more
        return found

    async def _instances(self, request: pb.WatchInstancesRequest) -> AsyncGenerator[pb.WatchInstancesResponse, None]:
        heartbeat_s = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else _HEARTBEAT_S
        interval_s = seconds(request.min_interval) if request.HasField("min_interval") else _INTERVAL_S
        known: dict[str, bytes] = {}
        first, told = True, self._clock.monotonic()
        # Figures of the summaries move without an event of the instance, so they are looked at in between.
        look_s = min(heartbeat_s, interval_s, _LOOK_S)
        watching = self._events.watch(filter_text='subject_type = "instance"', heartbeat_s=look_s)
        async with aclosing(watching) as batches:
            async for _batch in batches:
                if not first and self._clock.monotonic() - told < interval_s:
                    continue  # what changed is told with the next look
                shown = {each.instance_id: each for each in await self._shown(await self._all(request.filter))}
                state = {name: message.SerializeToString(deterministic=True) for name, message in shown.items()}
                changed = [shown[name] for name in shown if known.get(name) != state[name]]
                removed = [name for name in known if name not in state]
                if changed or removed or first or self._clock.monotonic() - told >= heartbeat_s:
                    told = self._clock.monotonic()
                    yield pb.WatchInstancesResponse(
                        instances=changed,
                        removed_instance_ids=removed,
                        snapshot=first,
                        time=timestamp(self._clock.now()),
                    )
                known, first = state, False


def _require_etag(etag: str, instance: Instance) -> None:
    if etag and etag != str(instance.revision):
        raise _stale(instance)


def _stale(instance: Instance) -> EtagMismatch:
    return EtagMismatch(resource=Resource("instance", instance.instance_id), metadata={"etag": str(instance.revision)})


def _bad_mask(text: str) -> InvalidArgument:
    return InvalidArgument(f"update_mask {text}.", violations=[FieldViolation("update_mask", text)])


def _merge(merged: strategy_pb2.Instance, asked: strategy_pb2.Instance, path: str) -> None:
    head, _, name = path.partition(".")
    if head in _LATER:
        raise Unimplemented(f"update_mask must be among {', '.join(_PATHS)} in this build, was {path}.")
    if head not in _PATHS or (name and head != "parameters"):
        raise _bad_mask(f"must be among {', '.join(_PATHS)}, parameters.<path>, was {path}")
    if path == "labels":
        merged.labels.clear()
        merged.labels.update(asked.labels)
    elif name:
        merged.parameters.fields.pop(name, None)
        if name in asked.parameters.fields:
            merged.parameters.fields[name].CopyFrom(asked.parameters.fields[name])
    elif path in ("parameters", "universe", "capital"):
        merged.ClearField(path)  # type: ignore[arg-type]  # one of the three
        if asked.HasField(path):  # type: ignore[arg-type]  # one of the three
            getattr(merged, path).CopyFrom(getattr(asked, path))
    else:
        setattr(merged, path, getattr(asked, path))
