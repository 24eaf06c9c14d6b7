"""Keeps one plug-in running: starts it, starts it again with back-off, puts another version in its place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from quasar import errors, logs
from quasar.clock import Clock
from quasar.plugins.code import CodeFolder, CodeVersion
from quasar.plugins.containment import Cause, Containment, OnContainment
from quasar.plugins.errands import Errands
from quasar.plugins.jail.spec import Limits
from quasar.plugins.permits import PermitDesk
from quasar.plugins.ports import declared_ports
from quasar.plugins.process import PluginProcess, ProcessSettings
from quasar.plugins.relay import Relay
from quasar.supervisor.backoff import Backoff

_MOST_FAILURES: Final = 12
_READY_S: Final = 60.0
_log = logs.get("quasar.plugins.keeper")


class KeeperState(Enum):
    """Where a plug-in stands; named as in the contract's `ProviderState`."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SWAPPING = "SWAPPING"
    BACKING_OFF = "BACKING_OFF"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class Reload(Enum):
    """How a change reached a plug-in; named as in the contract's `ReloadOutcome`."""

    UNCHANGED = "UNCHANGED"
    RECONFIGURED = "RECONFIGURED"
    SWAPPED = "SWAPPED"
    STARTED = "STARTED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What keepers make processes of."""

    folder: CodeFolder
    settings: ProcessSettings
    limits: Callable[[CodeVersion], Limits]
    clock: Clock
    on_containment: OnContainment


class Keeper:
    """Keeps one plug-in."""

    def __init__(self, code: CodeVersion, workshop: Workshop, desk: PermitDesk) -> None:
        """Prepare to keep a version."""
        self.code = code
        self.desk = desk
        self.state = KeeperState.STARTING
        self.restarts = 0
        self.last_exit = ""
        """How its process last ended; empty when it never did."""
        self.next_start_ns = 0
        self.state_since_ns = workshop.clock.time_ns()
        """Since when it is in its state."""
        self.last_failure: errors.QuasarError | None = None
        """The last failure, of the process or of a call to it; None: none so far."""
        self.last_failure_ns = 0
        self.relays: set[Relay] = set()
        self.process: PluginProcess | None = None
        self.former: set[PluginProcess] = set()
        """Processes that are about to end."""
        self._workshop = workshop
        self._changed = asyncio.Event()
        self._retire: dict[PluginProcess, asyncio.Event] = {}
        self._errands = Errands()
        self._failure: errors.QuasarError | None = None
        self._swapping = asyncio.Lock()
        self._stopping = False
        self._restart = asyncio.Event()

    async def run(self, first: asyncio.Future[None]) -> None:
        """Keep the plug-in until cancelled or stopped; `first` learns how the first start went."""
        backoff = Backoff(first_s=0.2, longest_s=30.0, stable_s=60.0)
        async with self._errands:
            while not self._stopping:
                began = self._workshop.clock.monotonic()
                try:
                    await self._keep_one(first)
                except Exception as error:
                    known = error if isinstance(error, errors.QuasarError) else self._unexpected(error)
                    if not first.done():
                        self._become(KeeperState.FAILED)
                        first.set_exception(known)
                        return
                    self._failure = known
                    self.last_exit = known.message
                    self.failed(known)
                if self._stopping:
                    break
                await self._back_off(backoff, self._workshop.clock.monotonic() - began)
        self._become(KeeperState.STOPPED)

    async def _keep_one(self, first: asyncio.Future[None]) -> None:
        """Start the plug-in and watch over it, and over what takes its place, until it ends."""
        self._become(KeeperState.STARTING)
        self.process = await self._begin(self.code)
        self._failure = None
        self._become(KeeperState.RUNNING)
        if not first.done():
            first.set_result(None)
        if self._stopping:
            self._let_go(self.process)
        while True:
            process = self.process
            await process.ended.wait()
            async with self._swapping:  # a swap that is under way decides what comes next
                if self.process is process:
                    break
        self.last_exit = process.detail
        if process.cause is not None:
            self.failed(errors.PluginUnavailable(f"{self.code.name} {process.detail}"))

    async def _back_off(self, backoff: Backoff, uptime_s: float) -> None:
        process, self.process = self.process, None
        wait: float | None = backoff.after(uptime_s)
        if backoff.failures >= _MOST_FAILURES:
            wait = None
        self._tell(process, wait)
        self._restart.clear()
        clock = self._workshop.clock
        self.next_start_ns = 0 if wait is None else clock.time_ns() + int(wait * 1e9)
        self._become(KeeperState.FAILED if wait is None else KeeperState.BACKING_OFF)
        async with Errands() as errands:
            sooner = {errands.add(self._restart.wait())}
            if wait is not None:
                sooner.add(errands.add(clock.sleep(wait)))
            await asyncio.wait(sooner, return_when=asyncio.FIRST_COMPLETED)
        if self._restart.is_set():
            backoff.failures = 0
        self.restarts += 1
        self.next_start_ns = 0

    def _tell(self, process: PluginProcess | None, wait: float | None) -> None:
        cause = process.cause if process is not None else Cause.NOT_READY
        notice = Containment(
            self.code.kind,
            self.code.name,
            self.code.version,
            cause or Cause.EXITED,
            self.last_exit,
            process.pid if process is not None else 0,
            wait,
        )
        _log.warning(
            "plug-in contained",
            plugin=notice.name,
            cause=notice.cause.value,
            detail=notice.detail,
            pid=notice.pid,
            next_start_s=wait,
        )
        self._workshop.on_containment(notice)

    async def _begin(self, code: CodeVersion) -> PluginProcess:
        """Start a process and return it when it is ready; its manifest may show that it needs other ports."""
        path = self._workshop.folder.materialise(code)
        ports = set(declared_ports(code))
        for _ in range(2):
            process = PluginProcess(
                code,
                path,
                tuple(sorted(ports)),
                self._workshop.limits(code),
                self.desk,
                self._workshop.settings,
                self._workshop.clock,
            )
            await self._live(process)
            assert process.manifest is not None
            missing = set(process.manifest.ports) - ports
            if not missing:
                return process
            ports |= missing
            self._let_go(process)
        return process

    async def _live(self, process: PluginProcess) -> None:
        """Run a process in a task of its own; return when it is ready."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        retire = self._retire[process] = asyncio.Event()

        async def life() -> None:
            try:
                async with process, Errands() as errands:
                    ready.set_result(None)
                    sooner = {errands.add(process.ended.wait()), errands.add(retire.wait())}
                    await asyncio.wait(sooner, return_when=asyncio.FIRST_COMPLETED)
            except Exception as error:
                if ready.done():
                    raise
                ready.set_exception(error)
            finally:
                self._retire.pop(process, None)
                self.former.discard(process)

        self._errands.add(life())
        await ready

    def _unexpected(self, error: Exception) -> errors.PluginUnavailable:
        """Keep an error that nobody thought of, or one of the machine, to this plug-in: the others run on."""
        why = getattr(error, "strerror", None) or type(error).__name__
        _log.error("a plug-in could not be started", plugin=self.code.name, exc_info=error)
        return errors.PluginUnavailable(f"{self.code.name} could not be started: {why}")

    def _let_go(self, process: PluginProcess) -> None:
        if (retire := self._retire.get(process)) is not None:
            self.former.add(process)
            retire.set()

    async def ready(self) -> PluginProcess:
        """Wait for a process that runs.

        Raises:
            PluginUnavailable: It failed too often, was stopped, or does not come back in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                while True:
                    if self._is_up():
                        assert self.process is not None
                        return self.process
                    if self.state in (KeeperState.FAILED, KeeperState.STOPPED):
                        break
                    self._changed.clear()
                    await self._changed.wait()
        why = self.last_exit or (self._failure.message if self._failure else self.state.value.lower())
        raise errors.PluginUnavailable(f"{self.code.name} does not run: {why}", retry_after_s=5.0)

    def _is_up(self) -> bool:
        """Tell whether the process runs and has not just been killed."""
        process = self.process
        if process is None or process.ended.is_set() or process.cause is not None:
            return False
        return self.state in (KeeperState.RUNNING, KeeperState.SWAPPING)

    async def reload(self, code: CodeVersion) -> Reload:
        """Make another version or other settings hold.

        Raises:
            QuasarError: The change could not be taken over; what was there goes on.
        """
        async with self._swapping:
            former = self.code
            if code.same_code != former.same_code or declared_ports(code) != declared_ports(former):
                return await self._swap(code)
            if (dict(code.secrets), dict(code.preferences)) == (dict(former.secrets), dict(former.preferences)):
                return Reload.UNCHANGED
            if self.process is None or self.process.ended.is_set():
                self.code = code
                self._restart.set()
                return Reload.STARTED
            if await self.process.configure(code.secrets, code.preferences):
                return await self._swap(code)
            self.code = code
            self.process.code = code
            return Reload.RECONFIGURED

    async def _swap(self, code: CodeVersion) -> Reload:
        former = self.process
        if former is None or former.ended.is_set():
            self.code = code
            self._restart.set()
            return Reload.STARTED
        self._become(KeeperState.SWAPPING)
        try:
            process = await self._begin(code)
            async with asyncio.TaskGroup() as group:
                for relay in self.relays:
                    group.create_task(relay.take_over(process))
        finally:
            self._become(KeeperState.RUNNING)
        self.code, self.process = code, process
        self._let_go(former)
        self._become(KeeperState.RUNNING)
        return Reload.SWAPPED

    async def restart(self) -> PluginProcess:
        """End the process and start it again, also when it had failed for good; return the new one when it is ready.

        Raises:
            PluginUnavailable: It does not become ready.
        """
        async with self._swapping:
            if self.process is None or self.process.ended.is_set():
                self._restart.set()
                self._become(KeeperState.STARTING)
            else:
                await self._swap(replace(self.code))
                self.restarts += 1
        return await self.ready()

    def stop(self) -> None:
        """Begin to end; `run` returns when it is done."""
        self._stopping = True
        self._restart.set()
        if self.process is not None:
            self._let_go(self.process)

    def failed(self, error: errors.QuasarError) -> None:
        """Remember a failure."""
        self.last_failure, self.last_failure_ns = error, self._workshop.clock.time_ns()

    def _become(self, state: KeeperState) -> None:
        if state is not self.state:
            self.state_since_ns = self._workshop.clock.time_ns()
        self.state = state
        self._changed.set()
