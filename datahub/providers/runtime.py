"""The running providers: started when they are needed, swapped when the registry changed, shared by all users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from datahub.providers.directory import ProviderDirectory
from datahub.providers.entry import ProviderEntry
from datahub.providers.source import ProviderSource
from quasar import logs
from quasar.clock import Clock, SystemClock
from quasar.errors import NotFound, QuasarError
from quasar.plugins.keeper import Reload
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool, ProcessView
from quasar.plugins.provider import ProviderHandle

_log = logs.get(__name__)


class ProviderRuntime:
    """Providers of one DataHub process, by name."""

    def __init__(self, directory: ProviderDirectory, pool: PluginPool, clock: Clock | None = None) -> None:
        """Run what `directory` has, in processes of `pool`."""
        self.directory = directory
        self._pool = pool
        self._clock = clock or SystemClock()
        self._failures: dict[str, tuple[QuasarError, int]] = {}
        self._handles: dict[str, tuple[ProviderEntry, ProviderHandle]] = {}
        self._changing: dict[str, asyncio.Lock] = {}

    async def handle(self, name: str) -> ProviderHandle:
        """Return a running provider, starting it when nothing has needed it so far.

        Raises:
            NotFound: No active provider has the name.
            PluginUnavailable: Its process does not become ready.
            PluginFailed: Its code raised while it was loaded or configured.
            SecretsUnreadable: Its secrets cannot be opened.
        """
        entry = self.directory.get(name)
        kept = self._handles.get(entry.name)
        if kept is not None and kept[0].stamp == entry.stamp:
            return kept[1]
        async with self._lock(entry.name):
            with self._noting(entry.name):
                handle = await self._pool.provider(await self.directory.code(entry.name))
            self._handles[entry.name] = (entry, handle)
            return handle

    def start_failure(self, name: str) -> tuple[QuasarError, int] | None:
        """Return why a provider could not be started when it was last needed, and when, nanoseconds UTC."""
        return self._failures.get(name)

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Remember how a start went."""
        try:
            yield
        except QuasarError as error:
            self._failures[name] = (error, self._clock.time_ns())
            raise
        self._failures.pop(name, None)

    async def source(self, name: str) -> ProviderSource:
        """Return a running provider as a source of bars; raises as `handle` does."""
        return ProviderSource(await self.handle(name))

    async def refresh(self) -> Mapping[str, ProviderEntry]:
        """Read the active providers, bring running ones up to date, and return them by name.

        A change that cannot be taken over leaves the provider as it runs; the log says why.
        """
        entries = await self.directory.refresh()
        for name, (former, _) in list(self._handles.items()):
            entry = entries.get(name)
            try:
                if entry is None:
                    await self._stop(name)
                elif entry.stamp != former.stamp:
                    await self._reload(entry)
            except QuasarError as error:
                _log.warning("provider not brought up to date", provider=name, problem=error.message)
        return entries

    async def reload(self, name: str) -> Reload:
        """Make a provider run what the registry has now.

        Raises:
            NotFound: It is not active and did not run.
            QuasarError: The change could not be taken over; what was there goes on.
        """
        await self.directory.refresh()
        entry = self.directory.find(name)
        if entry is None:
            running = next((each for each in self._handles if each.lower() == name.lower()), None)
            if running is None:
                raise NotFound(f"No active provider is called {name!r}.")
            await self._stop(running)
            return Reload.STOPPED
        if entry.name not in self._handles:
            await self.handle(entry.name)
            return Reload.STARTED
        return await self._reload(entry)

    async def restart(self, name: str) -> None:
        """End the process of a provider and start it again; raises as `handle` does."""
        entry = self.directory.get(name)
        if entry.name not in self._handles:
            await self.handle(entry.name)
            return
        await self._pool.restart(Kind.PROVIDER, entry.name)

    def running(self, name: str) -> ProviderHandle | None:
        """Return a provider that was started, or None."""
        kept = self._handles.get(name)
        return kept[1] if kept else None

    def process(self, name: str) -> ProcessView | None:
        """Return the process of a provider, or None while none is kept."""
        return next((view for view in self._pool.processes() if view.name == name), None)

    def processes(self) -> tuple[ProcessView, ...]:
        """Return every process."""
        return self._pool.processes()

    async def _reload(self, entry: ProviderEntry) -> Reload:
        async with self._lock(entry.name):
            with self._noting(entry.name):
                outcome = await self._pool.reload(await self.directory.code(entry.name))
            handle = await self._pool.provider(await self.directory.code(entry.name))
            self._handles[entry.name] = (entry, handle)
            return outcome

    async def _stop(self, name: str) -> None:
        async with self._lock(name):
            self._handles.pop(name, None)
            self._failures.pop(name, None)
            await self._pool.stop(Kind.PROVIDER, name)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._changing.setdefault(name, asyncio.Lock())
