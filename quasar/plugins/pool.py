"""The plug-ins of one service: one keeper for each class, one desk of permits for each provider and broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from quasar import errors
from quasar.clock import Clock, SystemClock
from quasar.plugins.broker import BrokerHandle
from quasar.plugins.code import CodeFolder, CodeVersion
from quasar.plugins.containment import Containment, OnContainment
from quasar.plugins.folders import sweep
from quasar.plugins.handover import Condition
from quasar.plugins.jail.posture import PostureItem
from quasar.plugins.jail.spec import Limits
from quasar.plugins.keeper import Keeper, KeeperState, Reload, Workshop
from quasar.plugins.manifest import Kind
from quasar.plugins.permits import PermitDesk
from quasar.plugins.process import ProcessSettings
from quasar.plugins.provider import ProviderHandle
from quasar.plugins.strategy import StrategyHandle

Key = tuple[Kind, str, str]
"""Kind, name, and the instance where a class runs several times."""
_GIB: Final = 1024 * 1024 * 1024
_LIMITS: Final = {
    Kind.PROVIDER: Limits(),
    Kind.BROKER: Limits(),
    Kind.STRATEGY: Limits(memory_bytes=4 * _GIB),  # the columns of a back-test lie in its process
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """One process, for people: what `SystemService.ListPluginProcesses` and `ProviderService` show."""

    name: str
    kind: Kind
    version: int
    pid: int
    state: KeeperState
    memory_bytes: int
    memory_limit_bytes: int
    cpu_seconds: float
    cpu_share: float
    restarts: int
    start_time_ns: int
    next_start_ns: int
    last_exit: str
    condition: Condition
    """How it is by its own account."""
    state_since_ns: int
    last_failure: errors.QuasarError | None
    """Of the process, or of a call to it."""
    last_failure_ns: int
    posture: tuple[PostureItem, ...]


def usual_limits(code: CodeVersion) -> Limits:
    """Return what a process of this kind may use unless a service says otherwise."""
    return _LIMITS[code.kind]


def _ignore(_notice: Containment) -> None:
    return None


class PluginPool:
    """An async context manager; leaving it ends every process."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: ProcessSettings | None = None,
        clock: Clock | None = None,
        limits: Callable[[CodeVersion], Limits] = usual_limits,
        on_containment: OnContainment = _ignore,
    ) -> None:
        """Prepare a pool.

        Args:
            folder: Where the code of versions is kept; made when it is needed.
            settings: How processes are run.
            clock: Tells the time and waits.
            limits: What a process of a version may use.
            on_containment: Hears of each process that ended although nobody had asked it to; called in the event loop.
        """
        self._clock = clock or SystemClock()
        self._workshop = Workshop(
            folder=CodeFolder(folder),
            settings=settings or ProcessSettings(),
            limits=limits,
            clock=self._clock,
            on_containment=on_containment,
        )
        self._keepers: dict[Key, Keeper] = {}
        self._desks: dict[Key, PermitDesk] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._handles: dict[Key, ProviderHandle] = {}
        self._group = asyncio.TaskGroup()
        self._starting: dict[Key, asyncio.Lock] = {}
        self._beginning: set[Keeper] = set()
        """Those whose first process does not run so far."""
        self._closing = False

    async def __aenter__(self) -> Self:
        """Open the pool."""
        await asyncio.to_thread(sweep, self._workshop.settings.runtime)
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process."""
        # Whoever still asks for a plug-in would have it started again, and the pool would never end.
        self._closing = True
        for keeper in (*self._keepers.values(), *self._beginning):
            keeper.stop()
        # Without the error: the group would wrap what the body raised.
        await self._group.__aexit__(None, None, None)

    async def strategy(self, code: CodeVersion, instance: str = "") -> StrategyHandle:
        """Return the handle of a strategy that runs this version in a process of its own.

        Args:
            code: The version.
            instance: Sets processes of the same class apart: the id of a run or back-test. `stop` ends it.

        Raises:
            CodeRejected: The code holds no class of its kind.
            PluginFailed: The code raised while it was loaded.
            PluginUnavailable: It did not become ready.
        """
        return StrategyHandle(await self._keeper(code, instance), self._clock)

    async def broker(self, code: CodeVersion, instance: str = "") -> BrokerHandle:
        """Return the handle of a broker that runs this version; `instance` sets accounts apart.

        Raises:
            CodeRejected: The code holds no class of its kind.
            PluginFailed: The code raised while it was loaded or configured.
            PluginUnavailable: It did not become ready.
        """
        return BrokerHandle(await self._keeper(code, instance), self._clock)

    async def provider(self, code: CodeVersion) -> ProviderHandle:
        """Return the handle of a provider that runs this version, started or swapped in where it does not.

        Raises:
            CodeRejected: The code holds no class of its kind.
            PluginFailed: The code raised while it was loaded or configured.
            PluginUnavailable: It did not become ready.
        """
        keeper = await self._keeper(code)
        key = (code.kind, code.name, "")
        handle = self._handles.get(key)
        if handle is None or handle.keeper is not keeper:
            handle = self._handles[key] = ProviderHandle(keeper, self._clock)
        return handle

    async def _keeper(self, code: CodeVersion, instance: str = "") -> Keeper:
        key = (code.kind, code.name, instance)
        async with self._starting.setdefault(key, asyncio.Lock()):
            keeper = self._keepers.get(key)
            if keeper is None or keeper.state is KeeperState.STOPPED:
                return await self._start(code, instance)
            await keeper.reload(code)
            return keeper

    async def _start(self, code: CodeVersion, instance: str) -> Keeper:
        if self._closing:
            raise errors.PluginUnavailable(f"{code.name} does not run: the service stops")
        key = (code.kind, code.name, instance)
        desk = self._desks.setdefault(key, PermitDesk(self._clock))
        keeper = Keeper(code, self._workshop, desk)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks[key] = self._group.create_task(keeper.run(first))
        self._beginning.add(keeper)
        try:
            await first
        finally:
            self._beginning.discard(keeper)
        self._keepers[key] = keeper
        return keeper

    async def reload(self, code: CodeVersion, instance: str = "") -> Reload:
        """Make this version and these settings hold; what was there goes on when they cannot.

        Raises:
            QuasarError: The change could not be taken over.
        """
        key = (code.kind, code.name, instance)
        async with self._starting.setdefault(key, asyncio.Lock()):
            keeper = self._keepers.get(key)
            if keeper is None or keeper.state is KeeperState.STOPPED:
                await self._start(code, instance)
                return Reload.STARTED
            return await keeper.reload(code)

    async def restart(self, kind: Kind, name: str, instance: str = "") -> None:
        """End a process and start it again; clears a failure and the back-off.

        Raises:
            NotFound: No such plug-in is kept.
            PluginUnavailable: It does not become ready.
        """
        await self.keeper(kind, name, instance).restart()

    async def stop(self, kind: Kind, name: str, instance: str = "") -> None:
        """End a plug-in for good; nothing happens when there is none."""
        key = (kind, name, instance)
        keeper = self._keepers.pop(key, None)
        self._handles.pop(key, None)
        if keeper is not None:
            keeper.stop()
            await asyncio.wait([self._tasks.pop(key)])

    def keeper(self, kind: Kind, name: str, instance: str = "") -> Keeper:
        """Return what keeps a plug-in.

        Raises:
            NotFound: No such plug-in is kept.
        """
        try:
            return self._keepers[(kind, name, instance)]
        except KeyError:
            raise errors.NotFound(f"{kind.value} {name} does not run here") from None

    def processes(self) -> tuple[ProcessView, ...]:
        """Return every plug-in that is kept, by kind and name."""
        keepers = sorted(self._keepers.items(), key=lambda item: (item[0][0].value, *item[0][1:]))
        return tuple(_view(keeper) for _, keeper in keepers)


def _view(keeper: Keeper) -> ProcessView:
    process = keeper.process
    usage = process.usage if process is not None else None
    return ProcessView(
        name=keeper.code.name,
        kind=keeper.code.kind,
        version=keeper.code.version,
        pid=process.pid if process is not None else 0,
        state=keeper.state,
        memory_bytes=usage.memory_bytes if usage else 0,
        memory_limit_bytes=process.limits.memory_bytes if process is not None else 0,
        cpu_seconds=usage.cpu_seconds if usage else 0.0,
        cpu_share=usage.cpu_share if usage else 0.0,
        restarts=keeper.restarts,
        start_time_ns=process.start_time_ns if process is not None else 0,
        next_start_ns=keeper.next_start_ns,
        last_exit=keeper.last_exit,
        condition=process.condition if process is not None else Condition(),
        state_since_ns=keeper.state_since_ns,
        last_failure=keeper.last_failure,
        last_failure_ns=keeper.last_failure_ns,
        posture=process.posture if process is not None else (),
    )
