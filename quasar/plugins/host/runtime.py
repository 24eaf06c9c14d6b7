"""The state of a plug-in's process: its class, its instance, its settings, how it is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from quasar import errors
from quasar.engine.parameters import declared
from quasar.plugins.host.blame import told
from quasar.plugins.host.journal import Journal
from quasar.plugins.host.loading import load
from quasar.plugins.jail.spec import Spec
from quasar.plugins.manifest import Kind, Manifest
from quasar.sdk.context import Context

_BEAT_S: Final = 0.25


class Runtime:
    """One plug-in in this process."""

    def __init__(self, spec: Spec, context: Context, journal: Journal) -> None:
        """Prepare; nothing is loaded yet."""
        self.spec = spec
        self.context = context
        self.journal = journal
        self.kind = Kind(spec.kind)
        self.manifest: Manifest | None = None
        self.instance: Any = None
        """The provider or broker, once it is configured; strategies are made for each run."""
        self.stopping = asyncio.Event()
        self.grace_s = 0.0
        self.generation = 0
        self.in_flight = 0
        self.buffers: dict[str, Callable[[], int]] = {}
        """Of each live stream, how many bytes wait to be sent."""
        self.lag_s = 0.0
        self._found: type[Any] | None = None
        self._failure: errors.QuasarError | None = None
        self._stored: dict[str, object] = {}

    def load(self) -> None:
        """Load the author's class; what goes wrong is kept for `Describe` to tell."""
        try:
            self._found, self.manifest = load(self.spec)
        except (Exception, SystemExit) as error:
            self._failure = told(error)

    @property
    def found(self) -> type[Any]:
        """The author's class.

        Raises:
            QuasarError: It could not be loaded.
        """
        if self._found is None:
            raise self._failure or errors.PluginUnavailable("the code is being loaded")
        return self._found

    def need_instance(self) -> Any:
        """Return the provider or broker.

        Raises:
            FailedPrecondition: It has no settings yet.
        """
        if self.instance is None:
            raise errors.FailedPrecondition("the plug-in must be configured first")
        return self.instance

    async def configure(self, secrets: Mapping[str, str], preferences: Mapping[str, Any], validating: bool) -> bool:
        """Put settings in force, all or none; tell whether some of them need a new process.

        Raises:
            InvalidArgument: A preference breaks a rule; the former settings stay.
        """
        own = declared(self.found)
        values = {name: value for name, value in preferences.items() if name in own and value is not None}
        before = self._stored
        if not self.generation:
            self.context.secrets, self.context.validating = dict(secrets), validating
            if self.kind is not Kind.STRATEGY:
                instance = self._make(values)
                if not validating:
                    await (instance.connect() if self.kind is Kind.BROKER else instance.start())
                self.instance = instance
        elif self.instance is not None:
            if self.kind is Kind.BROKER:
                return True  # its constructor takes the settings
            self.instance.apply_preferences(values)
            self.context.secrets = dict(secrets)
            self.instance.preferences_changed()
        self._stored = values
        changed = {name for name in own if before.get(name) != values.get(name)} if self.generation else set()
        return any(getattr(own[name], "needs_restart", False) for name in changed)

    def _make(self, values: Mapping[str, object]) -> Any:
        if self.kind is Kind.PROVIDER:
            return self.found(self.context, values)
        wanted = inspect.signature(self.found).parameters
        given = {"secrets": dict(self.context.secrets), "preferences": dict(values), "context": self.context}
        return self.found(**{name: value for name, value in given.items() if name in wanted})

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request while it is worked on."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def stop(self, grace_s: float) -> None:
        """Begin to end this process."""
        self.grace_s = grace_s
        self.stopping.set()

    async def beat(self) -> None:
        """Measure how late the event loop runs."""
        clock = self.context.clock
        while True:
            before = clock.monotonic()
            await clock.sleep(_BEAT_S)
            self.lag_s = max(0.0, clock.monotonic() - before - _BEAT_S)

    async def close(self) -> None:
        """Let requests in flight and the author's code finish, as long as there is time."""
        clock = self.context.clock
        until = clock.monotonic() + self.grace_s
        while self.in_flight and clock.monotonic() < until:
            await clock.sleep(0.01)
        if self.instance is not None:
            try:
                async with asyncio.timeout(max(1.0, self.grace_s)):
                    await (self.instance.close() if self.kind is Kind.BROKER else self.instance.stop())
                    await self.context.close()
            except Exception as error:  # the process ends all the same; the author reads why in the log
                self.context.log.warning("stopping failed: %s", told(error).message)
        self.journal.close()
