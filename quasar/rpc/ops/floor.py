"""What every service stands on: log, database, tokens, events, operations, health and the server, in one piece.

The composition root of a service lays it and adds its own servicers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from quasar import logs, tracing
from quasar.background import Background, background
from quasar.clock import Clock, SystemClock
from quasar.config import REGISTRY, Settings
from quasar.database.listener import Listener
from quasar.database.pool import Database
from quasar.database.roles import role_name, service_url
from quasar.errors import StartupError
from quasar.log_ring import LogRing
from quasar.metrics import Metrics
from quasar.ops import events, operations, tokens
from quasar.ops.bearers import ServiceBearers
from quasar.ops.identity import Identity
from quasar.ops.plugin_processes import PluginProcesses, no_plugin_processes
from quasar.ops.readiness import DatabaseReadiness
from quasar.ops.runner import OperationRunner
from quasar.ops.schema_report import SchemaReport
from quasar.plugins.jail import landlock
from quasar.rpc.health import Health
from quasar.rpc.ops.authentication import TokenAuthenticator
from quasar.rpc.ops.event_service import EventService
from quasar.rpc.ops.operation_service import OperationService
from quasar.rpc.ops.system_service import SystemParts, SystemService
from quasar.rpc.server import RpcServer, ServerSettings
from quasar.secrets import SystemContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a service builds on."""

    settings: Settings
    clock: Clock
    context: SystemContext
    """The installation's secret."""
    database: Database
    """Connections as the role of the service."""
    database_url: str
    """The same database, for connections of one's own."""
    events: events.Events
    operations: operations.Operations
    runner: OperationRunner
    """Give it a handler for each kind of operation that the service does."""
    tokens: tokens.Tokens
    bearers: ServiceBearers
    """Makes what the service shows to its peers."""
    health: Health
    """Make a part of it for each thing that readiness follows."""
    metrics: Metrics
    log: LogRing
    background: Background
    """Runs what must run as long as the service does."""
    server: RpcServer

    @property
    def service(self) -> str:
        """The noun of the service."""
        return self.settings.part.name

    def serve(
        self,
        servicers: Sequence[object],
        *,
        contract: Sequence[Any] = (),
        plugin_processes: PluginProcesses = no_plugin_processes,
        features: Mapping[str, bool] | None = None,
    ) -> RpcServer:
        """Put the common services and the service's own on the server, and return it to be started.

        Args:
            servicers: What answers the services of the contract, beside the common ones.
            contract: The generated servicer classes of all of them; those that no servicer extends answer
                UNIMPLEMENTED.
            plugin_processes: Returns the processes of uploaded and built-in code.
            features: Optional abilities of the service beside the common ones, by name, and whether they are on.
        """
        draining = self.server.draining
        self.server.add(SystemService(self._system_parts(plugin_processes, features or {})))
        self.server.add(OperationService(self.operations, draining))
        self.server.add(EventService(self.events, draining))
        without = [kind() for kind in contract if not any(isinstance(each, kind) for each in servicers)]
        for servicer in (*servicers, *without):
            self.server.add(servicer)
        self.background.start(self.runner.run(), "operations")
        return self.server

    def _system_parts(self, plugin_processes: PluginProcesses, own: Mapping[str, bool]) -> SystemParts:
        features = {
            "tls": self.settings.tls.enabled,
            "otel": self.settings.otlp_endpoint is not None,
            "landlock": landlock.abi() > 0,
        }
        return SystemParts(
            identity=Identity.of_this_process(self.service, self.clock, {**features, **own}),
            health=self.health,
            metrics=self.metrics,
            log=self.log,
            schema=SchemaReport(self.database, self.clock, embedded=self.settings.embedded),
            clock=self.clock,
            draining=self.server.draining,
            tokens=self.tokens if self.settings.part is REGISTRY else None,
            plugin_processes=plugin_processes,
        )


async def lay(settings: Settings, stack: AsyncExitStack, *, clock: Clock | None = None) -> Floor:
    """Build what a service stands on; the database may be away, the service then says so until it comes.

    Args:
        settings: Of the service.
        stack: Closes what was opened, in reverse order.
        clock: The time; that of the machine when absent.

    Raises:
        SecretsUnreadable: The system context is missing or cannot be read.
        BadSetting: There is no database to use.
        StartupError: A TLS file or the metrics port cannot be used.
    """
    clock = clock or SystemClock()
    service = settings.part.name
    log = logs.configure(logs.LogOptions(service=service, format=settings.log.format, level=settings.log.level))
    context = SystemContext.from_file(settings.system_context)
    url = _own_url(settings, context)
    database = await Database.open(
        url, application_name=f"quasar-{service}", min_size=0, max_size=settings.limits.database_connections
    )
    stack.push_async_callback(database.close)
    running = await stack.enter_async_context(background())
    written = events.Events(database, service, clock)
    work = operations.Operations(database, service, written, clock)
    known = tokens.Tokens(database, written, clock)
    bearers = ServiceBearers(context, clock)
    authenticator = TokenAuthenticator(known, bearers, clock)
    health, metrics = Health(clock), Metrics(service, clock)
    channels: dict[str, Callable[[str], None]] = {
        tokens.CHANNEL: authenticator.forget,
        events.CHANNEL: written.hint.give,
        operations.CHANNEL: work.notified,
    }
    running.start(Listener(url, channels, application_name=f"quasar-{service}-listener", clock=clock).run(), "listener")
    running.start(_readiness(settings, url, database, health, clock).run(), "readiness")
    tracer, flush_traces = tracing.configure(service, settings.otlp_endpoint)
    stack.callback(flush_traces)
    _expose_metrics(settings, metrics, stack)
    return Floor(
        settings=settings,
        clock=clock,
        context=context,
        database=database,
        database_url=url,
        events=written,
        operations=work,
        runner=OperationRunner(work, clock),
        tokens=known,
        bearers=bearers,
        health=health,
        metrics=metrics,
        log=log,
        background=running,
        server=RpcServer(
            _server_settings(settings),
            service=service,
            authenticator=authenticator,
            health=health,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
        ),
    )


def _own_url(settings: Settings, context: SystemContext) -> str:
    """Return the address of the database for the service's own role, also where the owner's was given."""
    service = settings.part.name
    url = settings.read_database_url(settings.home.service_url(service))
    return url if urlsplit(url).username == role_name(service) else service_url(url, service, context)


def _readiness(settings: Settings, url: str, database: Database, health: Health, clock: Clock) -> DatabaseReadiness:
    part = health.part("database")

    def tell(problem: str) -> None:
        if problem:
            part.not_serving(problem)
        else:
            part.serving()

    schema = SchemaReport(database, clock, embedded=settings.embedded)
    return DatabaseReadiness(url, settings.part.name, schema, clock, tell)


def _expose_metrics(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> None:
    if settings.metrics_port is None:
        return
    try:
        stack.enter_context(metrics.exposed(settings.metrics_port, settings.host))
    except OSError as error:
        raise StartupError(
            f"QUASAR_METRICS_PORT must be a free port, was {settings.metrics_port} ({error.strerror}); "
            "set another one, or unset it to serve no metrics."
        ) from error


def _server_settings(settings: Settings) -> ServerSettings:
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        tls_cert=settings.tls.certificate,
        tls_key=settings.tls.key,
        tls_client_ca=settings.tls.client_ca,
        max_concurrent_calls=settings.limits.calls,
        max_receive_bytes=settings.limits.message_bytes,
        drain_grace_s=settings.limits.drain_s,
    )
