"""Settings of the platform and where its files are. Everything that is set from outside is read here, once, at start.

| variable | meaning | default |
|---|---|---|
| `QUASAR_HOME` | folder of the platform's files | `~/.quasar` |
| `QUASAR_DATABASE_URL` | PostgreSQL; unset: the embedded one | |
| `QUASAR_SYSTEM_CONTEXT` | path of the 32-byte secret file | `<home>/system_context` |
| `QUASAR_BIND` | address that servers listen on | `127.0.0.1` |
| `QUASAR_REGISTRY_PORT`, `…_DATAHUB_…`, `…_STRATEGY_…`, `…_GATEWAY_…` | ports | 8080, 8081, 8082, 8000 |
| `QUASAR_REGISTRY_ADDRESS`, `…_DATAHUB_…`, `…_STRATEGY_…` | where the services find each other | this machine |
| `QUASAR_LOG_FORMAT`, `QUASAR_LOG_LEVEL` | `console` or `json`; `debug` … `critical` | `console`, `info` |
| `QUASAR_METRICS_PORT` | Prometheus metrics; under `quasar up` the first service's, the next ones follow | off |
| `QUASAR_TLS_CERTIFICATE`, `QUASAR_TLS_KEY` | serve TLS with these PEM files | off |
| `QUASAR_TLS_CLIENT_CA` | demand client certificates signed by this CA | off |
| `QUASAR_TLS_CA` | CA that signs the services' certificates, for calls among them | the system's |
| `QUASAR_MAX_CALLS` | calls in flight that a service takes | 1000 |
| `QUASAR_MAX_MESSAGE_MB` | largest message received, in MiB | 16 |
| `QUASAR_DRAIN_SECONDS` | time that calls in flight have to end at a stop | 10 |
| `QUASAR_DATABASE_CONNECTIONS` | connections a service holds at most | 10 |
| `QUASAR_BARS_KEPT_DAYS`, `QUASAR_TICKS_KEPT_DAYS` | age at which they are dropped; 0: never | as set before |
| `QUASAR_COMPRESS_AFTER_DAYS` | age at which TimescaleDB compresses them; 0: never | as set before |
| `QUASAR_RUNS_KEPT_DAYS` | age at which runs of collection are dropped (see docs, collection); 0: never | 30 |
| `QUASAR_BUS_URL` | NATS server (JetStream) between DataHub replicas, `nats://host:4222` | off |
| `QUASAR_BUS_BUFFER_MB` | live data that waits in a DataHub while the bus is away, in MiB | 256 |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | where traces are sent | off |

A value that holds a secret or comes from one may be given as `<variable>_FILE`, the path of a file with the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quasar.environment import BadSetting, Environment

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the platform that listens on a port."""

    name: str
    """The noun of the contract: `registry`, `datahub`, `strategy`, `gateway`."""
    module: str
    """What `python -m` runs."""
    default_port: int

    @property
    def port_variable(self) -> str:
        """The variable that sets its port."""
        return f"QUASAR_{self.name.upper()}_PORT"

    @property
    def address_variable(self) -> str:
        """The variable that tells the others where it is."""
        return f"QUASAR_{self.name.upper()}_ADDRESS"


REGISTRY = Part("registry", "registry", 8080)
DATAHUB = Part("datahub", "datahub", 8081)
STRATEGY = Part("strategy", "strategy_engine", 8082)
GATEWAY = Part("gateway", "grpc_gateway", 8000)
SERVICES = (REGISTRY, DATAHUB, STRATEGY)
PARTS = (*SERVICES, GATEWAY)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything the platform keeps on this machine."""

    path: Path

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Home:
        """Return the home that `QUASAR_HOME` names, else `~/.quasar`.

        Raises:
            BadSetting: The path exists and is no folder.
        """
        value = Environment(variables).text("QUASAR_HOME")
        path = Path(value).expanduser().absolute() if value else Path("~/.quasar").expanduser()
        if path.exists() and not path.is_dir():
            raise BadSetting("QUASAR_HOME", "must name a folder; choose another path or move that file away", str(path))
        return cls(path)

    @property
    def database(self) -> Path:
        """Folder of the embedded PostgreSQL."""
        return self.path / "db"

    @property
    def system_context(self) -> Path:
        """The 32-byte secret that every key of the platform is derived from."""
        return self.path / "system_context"

    @property
    def admin_token(self) -> Path:
        """The bearer token of the local administrator, made at the first start."""
        return self.path / "admin.token"

    @property
    def database_url(self) -> Path:
        """The URL of the embedded PostgreSQL for its owner, written by its supervisor."""
        return self.path / "database.url"

    def service_url(self, service: str) -> Path:
        """Return where the URL of the embedded PostgreSQL for the role of a service is."""
        return self.path / f"{service}.url"

    @property
    def logs(self) -> Path:
        """Folder of the merged log."""
        return self.path / "logs"

    @property
    def lock(self) -> Path:
        """Held by the one `quasar up` of this home."""
        return self.path / "up.lock"

    @property
    def state(self) -> Path:
        """What the running `quasar up` started: processes, ports, start times."""
        return self.path / "up.json"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a process writes its log."""

    format: str = "console"
    level: str = "info"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for encrypted connections; all absent: plain text."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Servers demand a client certificate that this CA signed."""
    ca: Path | None = None
    """Clients trust servers whose certificate this CA signed."""

    @property
    def enabled(self) -> bool:
        """Whether servers speak TLS."""
        return self.certificate is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep one caller from hurting the others."""

    calls: int = 1000
    message_bytes: int = 16 * 1024 * 1024
    drain_s: float = 10.0
    database_connections: int = 10


@dataclass(frozen=True, slots=True)
class StoragePolicies:
    """What becomes of market data that is old, in days of age. None: what the database was told before; 0: nothing."""

    bars_kept_days: int | None = None
    """Older bars and their former versions are dropped."""
    ticks_kept_days: int | None = None
    """Older ticks are dropped."""
    compress_after_days: int | None = None
    """TimescaleDB compresses what is older; plain PostgreSQL keeps the wish for the day TimescaleDB arrives."""
    runs_kept_days: int = 30
    """Runs of collection that ended longer ago are dropped, those of a schedule that succeeded after three days."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process of the platform needs to know."""

    part: Part
    home: Home
    database_url: str | None
    """PostgreSQL as the environment names it; None: the embedded one of the home."""
    system_context: Path
    host: str
    port: int
    metrics_port: int | None
    peers: Mapping[str, str]
    """`host:port` of each service, by its name."""
    otlp_endpoint: str | None = None
    """Where OpenTelemetry spans are sent; None: none are made."""
    bus_url: str | None = None
    """NATS server that carries live data between DataHub replicas; None: it stays in the process."""
    bus_buffer_bytes: int = 256 * 1024 * 1024
    """Live data that waits while the bus is away; what comes beyond is told as a gap."""
    storage: StoragePolicies = field(default_factory=StoragePolicies)
    log: LogSettings = field(default_factory=LogSettings)
    tls: TlsFiles = field(default_factory=TlsFiles)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def read(cls, part: Part, variables: Mapping[str, str]) -> Settings:
        """Read the settings of one part of the platform.

        Raises:
            BadSetting: A variable has a value that cannot be used; the message names it, the value and the remedy.
        """
        env = Environment(variables)
        home = Home.read(variables)
        context = env.text("QUASAR_SYSTEM_CONTEXT")
        metrics = env.integer("QUASAR_METRICS_PORT", 0, at_least=0, at_most=65535)
        return cls(
            part=part,
            home=home,
            database_url=env.database_url("QUASAR_DATABASE_URL"),
            system_context=Path(context).expanduser() if context else home.system_context,
            host=env.text("QUASAR_BIND") or "127.0.0.1",
            port=env.port(part.port_variable, part.default_port),
            metrics_port=metrics or None,
            peers=peers(env),
            otlp_endpoint=env.text("OTEL_EXPORTER_OTLP_ENDPOINT"),
            bus_url=env.text("QUASAR_BUS_URL"),
            bus_buffer_bytes=env.integer("QUASAR_BUS_BUFFER_MB", 256, at_least=1, at_most=65_536) * 1024 * 1024,
            storage=storage_policies(env),
            log=log_settings(env),
            tls=tls_files(env),
            limits=limits(env),
        )

    @property
    def embedded(self) -> bool:
        """Whether the database is the platform's own."""
        return self.database_url is None

    def read_database_url(self, file: Path) -> str:
        """Return the URL of the database: the one that was set, else what `quasar up` wrote for the embedded one.

        Args:
            file: `home.database_url` for the owner, `home.service_url(…)` for a service.

        Raises:
            BadSetting: Nothing is set, and no `quasar up` runs or ran on this home.
        """
        if self.database_url is not None:
            return self.database_url
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            rule = f"must be set, or `quasar up` must run on {self.home.path}, which gives it an embedded PostgreSQL"
            raise BadSetting("QUASAR_DATABASE_URL", rule, None) from error


def peers(env: Environment) -> dict[str, str]:
    """Return where each service is, by name."""
    found = {}
    for part in SERVICES:
        port = env.port(part.port_variable, part.default_port)
        found[part.name] = env.address(part.address_variable, f"127.0.0.1:{port}")
    return found


def log_settings(env: Environment) -> LogSettings:
    """Return how to log."""
    return LogSettings(
        format=env.choice("QUASAR_LOG_FORMAT", "console", ("console", "json")),
        level=env.choice("QUASAR_LOG_LEVEL", "info", LOG_LEVELS),
    )


def tls_files(env: Environment) -> TlsFiles:
    """Return the TLS files; a certificate without its key, or the other way round, is refused."""
    files = TlsFiles(
        certificate=env.file("QUASAR_TLS_CERTIFICATE"),
        key=env.file("QUASAR_TLS_KEY"),
        client_ca=env.file("QUASAR_TLS_CLIENT_CA"),
        ca=env.file("QUASAR_TLS_CA"),
    )
    if (files.certificate is None) != (files.key is None):
        missing = "QUASAR_TLS_KEY" if files.key is None else "QUASAR_TLS_CERTIFICATE"
        raise BadSetting(missing, "must be set too, for a certificate is used together with its key", None)
    if files.client_ca is not None and files.certificate is None:
        rule = "must not be set without QUASAR_TLS_CERTIFICATE and QUASAR_TLS_KEY"
        raise BadSetting("QUASAR_TLS_CLIENT_CA", rule, str(files.client_ca))
    return files


def storage_policies(env: Environment) -> StoragePolicies:
    """Return what becomes of old market data, and of what tells how it was collected."""
    usual = StoragePolicies()

    def days(name: str) -> int | None:
        return None if env.text(name) is None else env.integer(name, 0, at_least=0, at_most=36_500)

    return StoragePolicies(
        bars_kept_days=days("QUASAR_BARS_KEPT_DAYS"),
        ticks_kept_days=days("QUASAR_TICKS_KEPT_DAYS"),
        compress_after_days=days("QUASAR_COMPRESS_AFTER_DAYS"),
        runs_kept_days=env.integer("QUASAR_RUNS_KEPT_DAYS", usual.runs_kept_days, at_least=0, at_most=36_500),
    )


def limits(env: Environment) -> Limits:
    """Return the bounds."""
    usual = Limits()
    mib = 1024 * 1024
    return Limits(
        calls=env.integer("QUASAR_MAX_CALLS", usual.calls, at_least=1, at_most=1_000_000),
        message_bytes=mib * env.integer("QUASAR_MAX_MESSAGE_MB", usual.message_bytes // mib, at_least=1, at_most=1024),
        drain_s=env.seconds("QUASAR_DRAIN_SECONDS", usual.drain_s, at_most=3600),
        database_connections=env.integer(
            "QUASAR_DATABASE_CONNECTIONS", usual.database_connections, at_least=2, at_most=1000
        ),
    )
