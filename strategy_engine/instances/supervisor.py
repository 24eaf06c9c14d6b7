"""Starts and stops runs, keeps them going after a crash, and takes them up again after a restart."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from quasar import logs
from quasar.errors import (
    DatabaseUnavailable,
    FailedPrecondition,
    Internal,
    NotFound,
    PluginUnavailable,
    QuasarError,
    Resource,
    Unavailable,
)
from quasar.ops.events import Severity
from strategy_engine.backtests.records import LoadedSeries, NewestBars, WantedSeries
from strategy_engine.instances.instances import Begin, Document, Instance, InstanceState, Stage
from strategy_engine.instances.run import Run, Surroundings
from strategy_engine.strategies.directory import StrategyDirectory, StrategyEntry
from strategy_engine.trading.orders import ZERO
from strategy_engine.trading.survey import Survey, instance_cash

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_MOST_RESTARTS: Final = 5
GRACE_S: Final = 10.0
"""How long a run may take to end by itself when it is stopped."""
_log = logs.get(__name__)


@dataclass(slots=True)
class _Going:
    task: asyncio.Task[None]
    run: Run | None = None
    stopping: bool = False


class Supervisor:
    """Runs the instances that are to run."""

    def __init__(
        self,
        around: Surroundings,
        stage: Stage,
        directory: StrategyDirectory,
        bars: NewestBars,
        survey: Survey,
        wanted: Callable[[Document], list[WantedSeries]],
        describe: Callable[[LoadedSeries], Document],
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Run instances.

        Args:
            around: What runs stand on.
            stage: Runs strategies in their processes.
            directory: Finds their code.
            bars: Reads history.
            survey: Tells what an instance holds.
            wanted: Reads a stored universe.
            describe: Returns the record of a series.
            new_id: Makes ids of runs.
        """
        self._around = around
        self._stage = stage
        self._directory = directory
        self._bars = bars
        self._survey = survey
        self._wanted = wanted
        self._describe = describe
        self._new_id = new_id
        self._going: dict[str, _Going] = {}
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Supervise until cancelled; runs that were going on before are taken up again."""
        await self._restore()
        async with asyncio.TaskGroup() as group:
            while True:
                name = await self._asked.get()
                while (going := self._going.get(name)) is not None:
                    await asyncio.wait((going.task,))  # a run that has just ended
                self._going[name] = _Going(group.create_task(self._keep(name)))

    async def _restore(self) -> None:
        """Take up orders and runs from the rows; wait for the database while it is away."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._around.desk.restore()
                for instance in await self._around.table.to_run():
                    self._asked.put_nowait(instance.instance_id)
            except DatabaseUnavailable as error:
                _log.info("orders and runs wait for the database", problem=error.message, pause_s=pause_s)
                await self._around.clock.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            else:
                return

    async def start(
        self, instance_id: str, *, paused: bool = False, run_id: uuid.UUID | None = None
    ) -> tuple[uuid.UUID, bool]:
        """Begin a run and return its id and True; of an instance that runs, the id of that run and False.

        Args:
            instance_id: The instance.
            paused: Carry out no wishes until it is resumed.
            run_id: Of the run that begins; where there is one of that id, it was begun before, and nothing happens.

        Raises:
            FailedPrecondition: Its run is being stopped.
            NotFound: There is no such instance, or the registry has no such strategy.
        """
        async with self._turn:
            instance = await self._around.table.get(instance_id)
            if run_id is not None and await self._around.table.find_run(run_id):
                return run_id, False
            if instance.run_id is not None and instance.state is not InstanceState.STOPPING:
                return instance.run_id, False
            entry = await self.startable(instance)
            run_id, now = run_id or self._new_id(), self._around.clock.now()
            async with self._around.table.database.transaction() as connection:
                await self._around.table.insert_run(connection, run_id, instance, (entry.version, entry.sha256), now)
            state = InstanceState.PAUSED if paused else InstanceState.STARTING
            await self._move(instance, run_id, state, "", enabled=True)
            self._asked.put_nowait(instance_id)
            return run_id, True

    async def startable(self, instance: Instance) -> StrategyEntry:
        """Return the code that an instance would run.

        Raises:
            FailedPrecondition: Its run is being stopped.
            NotFound: The registry has no such strategy.
        """
        if instance.state is InstanceState.STOPPING:
            raise FailedPrecondition(
                f"instance {instance.instance_id} must have stopped to be started, was {instance.state.value}.",
                resource=Resource("instance", instance.instance_id),
            )
        return await self._directory.get(instance.strategy, instance.code_version)

    async def stop(self, instance: Instance, reason: str, grace_s: float = GRACE_S) -> None:
        """End the run of an instance and wait until it has ended; its process is killed after `grace_s` seconds."""
        going = self._going.get(instance.instance_id)
        if going is None:
            run_id = instance.run_id
            await self._end(instance, run_id, "STOPPED", InstanceState.STOPPED, reason)
            return
        going.stopping = True
        await self._move(instance, instance.run_id, InstanceState.STOPPING, reason, enabled=False)
        if going.run is not None:
            going.run.stop()
        else:
            going.task.cancel()
        _, slow = await asyncio.wait((going.task,), timeout=grace_s)
        if slow:
            going.task.cancel()  # which kills its process
            await asyncio.wait((going.task,))
        await self._end(instance, instance.run_id, "STOPPED", InstanceState.STOPPED, reason)

    async def pause(self, instance: Instance, *, paused: bool) -> None:
        """Carry out no wishes, or carry them out again.

        Raises:
            FailedPrecondition: It does not run, or is to be resumed and is not paused.
        """
        going = self._going.get(instance.instance_id)
        if going is None or going.run is None:
            raise FailedPrecondition(
                f"instance {instance.instance_id} must run, was {instance.state.value}.",
                resource=Resource("instance", instance.instance_id),
            )
        if not (paused or going.run.paused):
            raise FailedPrecondition(
                f"instance {instance.instance_id} must be paused to be resumed, was {instance.state.value}.",
                resource=Resource("instance", instance.instance_id),
            )
        going.run.paused = paused
        state = InstanceState.PAUSED if paused else InstanceState.RUNNING
        await self._move(instance, instance.run_id, state, "", enabled=True)

    async def _keep(self, instance_id: str) -> None:
        pause_s, failures = _FIRST_PAUSE_S, 0
        try:
            while (problem := await self._attempt(instance_id)) is not None:
                failures += isinstance(problem, PluginUnavailable)
                final = not isinstance(problem, Unavailable) or failures > _MOST_RESTARTS
                if await self._over(instance_id, problem, pause_s, final=final):
                    return
                await self._around.clock.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
        finally:
            self._going.pop(instance_id, None)

    async def _attempt(self, instance_id: str) -> QuasarError | None:
        """Run an instance until it is stopped, and return None; else what ended the run."""
        try:
            await self._run_once(await self._around.table.get(instance_id))
        except QuasarError as error:
            return error
        except Exception as error:
            # One run must not take the others with it.
            _log.error("a run ended with an error of the engine", instance_id=instance_id, exc_info=error)
            return Internal(f"The engine failed: {type(error).__name__}; its log says where.")
        return None

    async def _over(self, instance_id: str, problem: QuasarError, pause_s: float, *, final: bool) -> bool:
        """Record what ended a run, and tell whether it is not tried again. Nothing of it may end the other runs."""
        try:
            return await self._told(instance_id, problem, pause_s, final=final) and final
        except NotFound as error:
            _log.warning("a run ended without its instance", instance_id=instance_id, problem=error.message)
            return True
        except Exception as error:
            _log.error("the end of a run could not be recorded", instance_id=instance_id, exc_info=error)
            return False

    async def _told(self, instance_id: str, problem: QuasarError, pause_s: float, *, final: bool) -> bool:
        """Record what ended a run; False while the database is away."""
        try:
            instance = await self._around.table.get(instance_id)
            if final:
                _log.warning("run failed", instance_id=instance_id, problem=problem.message)
                await self._end(instance, instance.run_id, "FAILED", InstanceState.FAILED, problem.message)
                return True
            # One that is paused stays so: it must not trade again by a crash.
            paused = instance.state is InstanceState.PAUSED
            state = InstanceState.PAUSED if paused else InstanceState.BACKING_OFF
            text = f"{problem.message} Tried again in {pause_s:g} s."
            await self._move(instance, instance.run_id, state, text, enabled=True)
        except DatabaseUnavailable as error:
            _log.warning("a run waits for the database", instance_id=instance_id, problem=error.message)
            return False
        return True

    async def _run_once(self, instance: Instance) -> None:
        table = self._around.table
        row = await table.open_run(instance.instance_id)
        if row is None:
            return  # it was stopped before its turn came
        run_id, last_intent = row["run_id"], row["last_intent"]
        wanted = self._wanted(instance.universe)
        loaded = await self._bars.newest(wanted, 1)
        await table.progress(run_id, last_intent, {}, [self._describe(each) for each in loaded])
        entry = await self._directory.get(row["strategy"], row["code_version"])
        async with self._stage.open(await self._begin(instance, row, entry, loaded)) as session:
            run = Run(self._around, instance, run_id, session, last_intent, row["metrics"])
            run.wants_ticks = bool(entry.manifest.get("wants_ticks"))
            run.paused = instance.state is InstanceState.PAUSED
            going = self._going[instance.instance_id]
            going.run = run
            facts = [each.facts for each in loaded]
            keys = [(one.provider, one.symbol, one.interval) for one in facts]
            try:
                with run.reading(keys, {(one.name, one.interval) for one in facts}):
                    if session.warmup_bars:
                        await self._around.feed.until_open(keys)
                        await run.warm_up(await self._bars.newest(wanted, session.warmup_bars))
                    state = InstanceState.PAUSED if run.paused else InstanceState.RUNNING
                    # Whoever hears that it runs may count on its orders meeting the next bar.
                    run.prepared()
                    await self._move(instance, run_id, state, "", enabled=True)
                    await run.go()
            finally:
                going.run = None

    async def _begin(self, instance: Instance, row: Any, entry: StrategyEntry, loaded: Sequence[LoadedSeries]) -> Begin:
        account = await self._around.desk.records.accounts.get(instance.account_id)
        held = await self._around.desk.records.accounts.positions(
            instance.account_id, instance.instance_id, include_flat=True
        )
        capital = instance.capital if instance.capital is not None else account.initial_cash
        return Begin(
            run_id=row["run_id"],
            code=replace(entry.code, name=entry.name),
            series=loaded,
            instruments=await self._survey.instruments([each.facts for each in loaded]),
            parameters=instance.parameters,
            cash=max(ZERO, instance_cash(capital, held)),
            currency=account.currency,
            positions=[each for each in held if each.quantity],
            next_intent_number=row["last_intent"] + 1,
            seed=instance.seed,
            time_ns=self._around.clock.time_ns(),
        )

    async def _move(
        self, instance: Instance, run_id: uuid.UUID | None, state: InstanceState, text: str, *, enabled: bool
    ) -> None:
        now = self._around.clock.now()
        async with self._around.table.database.transaction() as connection:
            await self._around.table.move(
                connection, instance.instance_id, state, text, now, run_id=run_id, enabled=enabled
            )
            if run_id is not None:
                run_state = _RUN_STATES[state]
                await self._around.table.move_run(connection, run_id, run_state, text, now)
                await self._state_event(connection, instance, run_id, run_state, text)

    async def _end(
        self, instance: Instance, run_id: uuid.UUID | None, run_state: str, state: InstanceState, text: str
    ) -> None:
        now = self._around.clock.now()
        async with self._around.table.database.transaction() as connection:
            await self._around.table.move(
                connection, instance.instance_id, state, text, now, run_id=None, enabled=False
            )
            if run_id is not None:
                await self._around.table.move_run(connection, run_id, run_state, text, now)
                await self._state_event(connection, instance, run_id, run_state, text)

    async def _state_event(
        self, connection: Any, instance: Instance, run_id: uuid.UUID, run_state: str, text: str
    ) -> None:
        payload: Mapping[str, Any] = {"state": f"RUN_STATE_{run_state}", "text": text}
        await self._around.events.record(
            connection,
            "RunStateChanged",
            f"Run of {instance.instance_id} is {run_state}{': ' + text if text else ''}",
            subject_type="instance",
            subject_name=instance.instance_id,
            severity=Severity.ERROR if run_state == "FAILED" else Severity.INFO,
            data={
                "telemetry": "STATE",
                "payload": dict(payload),
                "event_time": self._around.clock.now().isoformat(),
            },
            run_id=str(run_id),
        )


_RUN_STATES: Final = {
    InstanceState.STARTING: "STARTING",
    InstanceState.WARMING_UP: "WARMING_UP",
    InstanceState.RUNNING: "RUNNING",
    InstanceState.PAUSED: "PAUSED",
    InstanceState.STOPPING: "STOPPING",
    InstanceState.BACKING_OFF: "RECOVERING",
}
