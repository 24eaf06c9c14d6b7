"""`quasar up`: everything of the platform on one machine, started in order, watched, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quasar import leash
from quasar.background import background
from quasar.clock import Clock
from quasar.config import GATEWAY, PARTS, REGISTRY, Part, Settings
from quasar.errors import StartupError
from quasar.ops.identity import platform_version
from quasar.ops.rotation import demand_no_rotation
from quasar.secrets import SystemContext
from quasar.supervisor import invocation
from quasar.supervisor.admin_token import ensure_admin_token
from quasar.supervisor.child import Program
from quasar.supervisor.database import DatabaseKeeper
from quasar.supervisor.keeper import Keeper
from quasar.supervisor.lock import HomeLock
from quasar.supervisor.merged_log import MergedLog
from quasar.supervisor.owner_database import postgres_binaries
from quasar.supervisor.ports import demand_free
from quasar.supervisor.preparation import DiskWatch, port_wishes, prepare_home, unwritable
from quasar.supervisor.probes import Answer, Probe
from quasar.supervisor.state import DATABASE, ProcessRecord, UpState, end_leftovers
from quasar.supervisor.stop_wish import StopAsked, StopWish

NAMES = ("quasar", DATABASE, *(part.name for part in PARTS))
"""Who writes to the merged log."""
FIRST_LOOK_S = 0.05
"""Time between two questions whether a process is ready, until it is for the first time."""
LOOK_S = 5.0
DISK_LOOK_S = 10.0
SILENT_S = 60.0
"""A process that runs and answers nothing for this long is started again."""
LATE_S = 15.0
"""A start that takes longer is commented on, once in this time."""
_STOP_EXTRA_S = 5.0
"""Time that a process has beyond its drain."""


@dataclass(slots=True)
class _Watched:
    """One process of the platform and what is known of it."""

    part: Part
    keeper: Keeper
    probe: Probe
    pid: int | None = None
    last_answer: float = 0.0
    answer: Answer = Answer.SILENT
    ready_once: asyncio.Event = field(default_factory=asyncio.Event)


class Platform:
    """The platform on this machine."""

    def __init__(self, variables: Mapping[str, str], parts: Sequence[Part], log: MergedLog, clock: Clock) -> None:
        """Run `parts` with the settings that the environment holds.

        Args:
            variables: The environment.
            parts: What to run beside the database; in the order of `quasar.config.PARTS`.
            log: Where all processes write.
            clock: For waits.

        Raises:
            BadSetting: A variable has a value that cannot be used.
        """
        self._variables = variables
        self._settings = _settings_of(parts, variables)
        self._shared = Settings.read(REGISTRY, variables)
        self._home = self._shared.home
        self._log = log
        self._clock = clock
        self._stop = StopWish()
        self._failure: StartupError | None = None
        self._began = clock.monotonic()
        self._start_time = clock.now()
        self._database = DatabaseKeeper(
            self._home,
            self._shared.database_url,
            clock,
            lambda text: log.line(DATABASE, text),
            binaries=postgres_binaries(variables),
            on_change=self._write_state,
        )
        self._watched = [self._watch_of(part, each) for part, each in self._settings.items()]

    def _watch_of(self, part: Part, settings: Settings) -> _Watched:
        probe = Probe(settings)
        program = Program(part.name, part.module, probe.address, self._environment(settings))
        patience = settings.limits.drain_s + _STOP_EXTRA_S
        keeper = Keeper(program, self._clock, lambda text: self._log.line(part.name, text), self._write_state, patience)
        return _Watched(part, keeper, probe)

    def _environment(self, settings: Settings) -> dict[str, str]:
        environment = {**self._variables, "QUASAR_HOME": str(self._home.path), "PYTHONUNBUFFERED": "1"}
        if settings.metrics_port is not None:
            environment["QUASAR_METRICS_PORT"] = str(settings.metrics_port)
        leash.attach(environment)
        return environment

    async def run(self) -> None:
        """Run until the operator wishes the end.

        Raises:
            StartupError: Something keeps the platform from starting; the message says what helps.
            EmbeddedPostgresError: The embedded PostgreSQL cannot start.
            QuasarError: The database or the system context cannot be used.
        """
        prepare_home(self._home)
        try:
            with HomeLock(self._home.lock), self._stop.listening():
                close_log = self._log.open_file(self._home.logs / "quasar.log")
                try:
                    await self._run_locked()
                finally:
                    close_log()
        except OSError as error:
            raise unwritable(error, self._home.path) from error

    async def _run_locked(self) -> None:
        for name in end_leftovers(self._home.state):
            self._say(f"ended a {name} that was left by a platform that was killed")
        demand_free(port_wishes(self._settings))
        demand_no_rotation(self._shared.system_context)
        context = SystemContext.load_or_create(self._shared.system_context)
        try:
            url = await self._stop.unless(self._database.start(context))
            await self._stop.unless(self._ensure_token(url))
            self._write_state()
            await self._supervise()
        except StopAsked:
            self._say("stopped before it was up")
        finally:
            await self._end_database()
        if self._failure is not None:
            raise self._failure

    async def _ensure_token(self, url: str) -> None:
        if await ensure_admin_token(url, self._home.admin_token, self._clock):
            self._say(f"made a token for the administrator: {self._home.admin_token}")

    async def _supervise(self) -> None:
        """Run the processes until the operator wishes the end, or one cannot start."""
        self._stop.on_impatience = self._kill
        async with background() as running:
            running.start(self._database.keep(), "database")
            try:
                for watched in self._watched:
                    running.start(self._keep(watched.keeper), watched.part.name)
                    running.start(self._follow(watched), f"{watched.part.name} health")
                running.start(self._tell_when_up(), "summary")
                running.start(self._watch_disk(), "disk")
                await self._clock.sleep(0)  # lets the processes begin
                Probe.load()
                await self._stop.wait()
            finally:
                self._say("stopping")
                for watched in reversed(self._watched):
                    await watched.keeper.stop()
        for watched in self._watched:
            await watched.probe.close()

    async def _keep(self, keeper: Keeper) -> None:
        """Keep one process; when it cannot start, the whole platform ends and says why."""
        try:
            await keeper.run()
        except StartupError as error:
            self._failure = self._failure or error
            self._stop.ask()

    async def _follow(self, watched: _Watched) -> None:
        """Ask a process how it is; end it when it has been silent for long, so that it is started again."""
        keeper = watched.keeper
        if watched.part is GATEWAY:
            # It is ready when the services are. Asked earlier it would try them in vain, and wait before it tries
            # again.
            for service in self._watched[:-1]:
                await service.ready_once.wait()
        while True:
            watched.answer = await watched.probe.ask()
            now = self._clock.monotonic()
            if watched.answer is not Answer.SILENT or keeper.pid != watched.pid:
                watched.pid, watched.last_answer = keeper.pid, now
            elif keeper.pid is not None and now - watched.last_answer > SILENT_S:
                self._log.line(watched.part.name, f"has answered nothing for {SILENT_S:g} s and is killed")
                keeper.kill_process()
            if watched.answer is Answer.READY:
                watched.ready_once.set()
                keeper.was_healthy.set()
            await self._clock.sleep(LOOK_S if watched.ready_once.is_set() else FIRST_LOOK_S)

    async def _watch_disk(self) -> None:
        watch = DiskWatch(self._home.path)
        while True:
            if news := watch.look():
                self._say(news)
            await self._clock.sleep(DISK_LOOK_S)

    async def _tell_when_up(self) -> None:
        """Say that all is up, and while it is not, what is missing."""
        for watched in self._watched:
            while not watched.ready_once.is_set():
                try:
                    async with asyncio.timeout(LATE_S):
                        await watched.ready_once.wait()
                except TimeoutError:
                    late = [f"{w.part.name} ({w.answer.value})" for w in self._watched if not w.ready_once.is_set()]
                    self._say(f"still waiting for {', '.join(late)}")
        self._log.plain(self._summary())

    def _summary(self) -> str:
        lines = [f"\nQuasar {platform_version()} is up ({self._clock.monotonic() - self._began:.1f} s).\n"]
        for watched in self._watched:
            scheme = "https" if self._settings[watched.part].tls.enabled else "http"
            gateway = watched.part is GATEWAY
            lines.append(f"  {watched.part.name:<10} {f'{scheme}://' if gateway else ''}{watched.probe.address}")
        database = f"embedded PostgreSQL in {self._home.database}" if self._shared.embedded else "QUASAR_DATABASE_URL"
        log = self._home.logs / "quasar.log"
        rows = {"database": database, "token": self._home.admin_token, "home": self._home.path, "log": log}
        lines += [f"  {name:<10} {value}" for name, value in rows.items()]
        quasar = invocation.command()
        lines.append(
            f"\nNext: `{quasar} demo` in another terminal; `{quasar} status` tells how it is; Ctrl-C stops it.\n"
        )
        return "\n".join(lines)

    async def _end_database(self) -> None:
        await self._database.stop()
        self._home.state.unlink(missing_ok=True)
        self._say("stopped")

    def _kill(self) -> None:
        self._say("killing what has not stopped")
        for watched in self._watched:
            watched.keeper.kill()

    def _write_state(self) -> None:
        """Write which processes run, for `quasar status`, `quasar down` and the next start."""
        me = ProcessRecord.of("quasar", os.getpid())
        assert me is not None
        records = [
            ProcessRecord.of(w.part.name, w.keeper.pid, w.probe.address, w.keeper.restarts)
            for w in self._watched
            if w.keeper.pid is not None
        ]
        if self._database.pid is not None:
            records.insert(0, ProcessRecord.of(DATABASE, self._database.pid, "", self._database.restarts))
        state = UpState(
            supervisor=me,
            version=platform_version(),
            start_time=self._start_time,
            embedded=self._shared.embedded,
            processes=tuple(record for record in records if record is not None),
        )
        try:
            state.write(self._home.state)
        except OSError as error:
            self._say(f"cannot write {self._home.state} ({error.strerror})")

    def _say(self, text: str) -> None:
        self._log.line("quasar", text)


def _settings_of(parts: Sequence[Part], variables: Mapping[str, str]) -> dict[Part, Settings]:
    """Return the settings of each part; the ports of metrics are counted from the one that is set."""
    found = {}
    for number, part in enumerate(parts):
        settings = Settings.read(part, variables)
        if settings.metrics_port is not None:
            own = {**variables, "QUASAR_METRICS_PORT": str(settings.metrics_port + number)}
            settings = Settings.read(part, own)
        found[part] = settings
    return found
