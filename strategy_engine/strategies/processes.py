"""The processes of strategies, as they are shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from quasar.ops.plugin_processes import PluginProcess, PostureItem, ProcessState
from quasar.plugins.handover import Fitness
from quasar.plugins.keeper import KeeperState
from quasar.plugins.pool import PluginPool, ProcessView

_NS: Final = 1_000_000_000
_STATES: Final = {
    KeeperState.STARTING: ProcessState.STARTING,
    KeeperState.RUNNING: ProcessState.SERVING,
    KeeperState.SWAPPING: ProcessState.SERVING,
    KeeperState.BACKING_OFF: ProcessState.DEGRADED,
}
_FITNESS: Final = {Fitness.DEGRADED: ProcessState.DEGRADED, Fitness.UNAVAILABLE: ProcessState.NOT_SERVING}


class StrategyProcesses:
    """Shows the processes of a pool."""

    def __init__(self, pool: PluginPool) -> None:
        """Show those of `pool`."""
        self._pool = pool

    async def list(self) -> Sequence[PluginProcess]:
        """Return the processes that live, as `SystemService.ListPluginProcesses` shows them."""
        return [_shown(view) for view in self._pool.processes()]


def _shown(view: ProcessView) -> PluginProcess:
    return PluginProcess(
        name=view.name,
        kind=view.kind.value,
        version=view.version,
        pid=view.pid,
        state=_state(view),
        memory_bytes=view.memory_bytes,
        cpu_seconds=view.cpu_seconds,
        restarts=view.restarts,
        start_time=dt.datetime.fromtimestamp(view.start_time_ns / _NS, dt.UTC),
        last_exit=view.last_exit,
        posture=tuple(PostureItem(item.measure, item.enforced, item.detail) for item in view.posture),
    )


def _state(view: ProcessView) -> ProcessState:
    state = _STATES.get(view.state, ProcessState.NOT_SERVING)
    return _FITNESS.get(view.condition.fitness, state) if state is ProcessState.SERVING else state
