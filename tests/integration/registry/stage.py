"""A registry on a socket and a real database, with the services around it played by small gRPC servers on sockets."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from datahub.rpc.validation import Validations
from quasar.clock import SystemClock
from quasar.config import REGISTRY, Home
from quasar.database.pool import Database
from quasar.filters import Field, predicate
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Tokens
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import (
    collection_pb2,
    market_data_service_pb2_grpc,
    provider_pb2,
    provider_service_pb2_grpc,
)
from quasar_proto.datahub.v1 import collection_service_pb2 as collection
from quasar_proto.datahub.v1 import collection_service_pb2_grpc as collection_grpc
from quasar_proto.datahub.v1 import market_data_service_pb2 as market_data
from quasar_proto.datahub.v1 import provider_service_pb2 as provider
from quasar_proto.registry.v1 import (
    code_service_pb2,
    code_service_pb2_grpc,
    subscription_service_pb2_grpc,
)
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy
from quasar_proto.strategy.v1 import strategy_service_pb2_grpc as strategy_grpc
from quasar_proto.strategy.v1 import trading_service_pb2 as trading
from quasar_proto.strategy.v1 import trading_service_pb2_grpc as trading_grpc
from registry.app import build
from registry.assets.listing import ASSETS
from registry.config import RegistrySettings
from registry.subscriptions.upkeep import Upkeep

_TESTER = Actor("tests", Role.ADMIN)
BY_SOMEBODY = "not (kind = 'CodeInstalled' or (kind = 'IndexCreated' and actor = ''))"
"""Condition of events that are not of the service's own start, which come whenever it gets to them."""
MAX_SERIES = 12_000
"""What the registry of a stage is set to."""
PROVIDER = "class {name}Provider:\n    '''A source for tests.'''\n    declared = {declared!r}\n"


def source(name: str = "alpha", **declared: Any) -> bytes:
    """Return a file whose class the played validators understand: its manifest stands in it.

    Args:
        name: The name of the code.
        declared: Fields of the manifest in their JSON form, over the usual ones.
    """
    manifest: dict[str, Any] = {
        "name": name,
        "kind": "CODE_KIND_PROVIDER",
        "class_name": f"{name.title()}Provider",
        "language": "python",
        "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL", "PROVIDER_CAPABILITY_LIVE"],
        "intervals": ["1min", "5min", "1h", "1d"],
        "streams_ticks": True,
        **declared,
    }
    return PROVIDER.format(name=name.title(), declared=manifest).encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return buffer.getvalue()


def _finding(rule: str, message: str, file: str, line: int = 0) -> code_pb2.Finding:
    return code_pb2.Finding(severity=code_pb2.FINDING_SEVERITY_ERROR, rule=rule, message=message, file=file, line=line)


def report_on(kind: values_pb2.CodeKind.ValueType, file_name: str, content: bytes) -> code_pb2.ValidationReport:
    """Read a file as the owning service would: syntax, exactly one class, its manifest."""
    report = code_pb2.ValidationReport(sha256=hashlib.sha256(content).hexdigest(), validator="played")
    texts = {file_name: content}
    if file_name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            texts = {name: archive.read(name) for name in archive.namelist()}
    found: list[dict[str, Any]] = []
    for path, text in texts.items():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", 0) or 0
            report.findings.append(_finding("syntax-error", f"must be Python, was not: {error}", path, line))
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found += [ast.literal_eval(one.value) for one in node.body if isinstance(one, ast.Assign)]
    if not report.findings and len(found) != 1:
        rule = "no-provider-class" if not found else "two-provider-classes"
        report.findings.append(_finding(rule, f"must hold exactly one class, held {len(found)}", file_name))
    if not report.findings:
        report.passed = True
        json_format.ParseDict(found[0], report.manifest)
        report.stage = code_pb2.VALIDATION_STAGE_TRIAL
    return report


@dataclass
class PlayedDataHub(
    provider_service_pb2_grpc.ProviderServiceServicer,
    collection_grpc.CollectionServiceServicer,
    market_data_service_pb2_grpc.MarketDataServiceServicer,
):
    """What the registry asks of the DataHub."""

    validated: list[provider.ValidateProviderRequest] = field(default_factory=list)
    reloaded: list[str] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    states: dict[tuple[str, str, str], collection_pb2.SubscriptionState] = field(default_factory=dict)
    reload: Callable[[str], provider.ReloadProviderResponse] | grpc.StatusCode = lambda name: (
        provider.ReloadProviderResponse(outcome=provider.RELOAD_OUTCOME_SWAPPED)
    )
    symbols: dict[str, list[str]] = field(default_factory=dict)
    """What each provider lists."""
    together: asyncio.Barrier | None = None
    """When set: as many validations as it has parties end at once."""
    trials: Validations | None = None
    """When set: code is validated by the DataHub's own reading and its trial runs in the jail."""

    async def ValidateProvider(self, request: Any, context: Any) -> Any:
        self.validated.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.together is not None:
            await self.together.wait()
        if self.trials is not None:
            return await self.trials.validate(request)
        return provider.ValidateProviderResponse(
            report=report_on(values_pb2.CODE_KIND_PROVIDER, request.file_name, request.content)
        )

    async def ReloadProvider(self, request: Any, context: Any) -> Any:
        self.reloaded.append(request.name)
        if isinstance(self.reload, grpc.StatusCode):
            await context.abort(self.reload, "no such provider")
        assert callable(self.reload)
        return self.reload(request.name)

    async def ListProviderSymbols(self, request: Any, context: Any) -> AsyncIterator[Any]:
        listed = [provider_pb2.ProviderSymbol(symbol=symbol, asset_class=1) for symbol in self.symbols[request.name]]  # type: ignore[arg-type]  # enum values are integers
        yield provider.ListProviderSymbolsResponse(symbols=listed, total=len(listed))

    async def BatchGetSubscriptionStates(self, request: Any, context: Any) -> Any:
        answer = collection.BatchGetSubscriptionStatesResponse()
        for key in request.keys:
            known = self.states.get((key.provider, key.symbol, key.interval))
            answer.states.append(known or collection_pb2.SubscriptionState(key=key))
        return answer

    async def SearchSeries(self, request: Any, context: Any) -> Any:
        if not predicate(request.filter, {"provider": Field("provider")})({"provider": "alpha"}):
            return market_data.SearchSeriesResponse()
        stored = market_data.SeriesAvailability(interval="1d", has_historical=True)
        subscribed = market_data.SeriesAvailability(interval="1h")
        match = market_data.SeriesMatch(intervals=[subscribed, stored])
        return market_data.SearchSeriesResponse(matches=[match])


@dataclass
class PlayedEngine(strategy_grpc.StrategyServiceServicer, trading_grpc.TradingServiceServicer):
    """What the registry asks of the strategy engine."""

    instances: dict[str, Any] = field(default_factory=dict)
    applied: list[strategy.ApplyCodeRequest] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def ValidateStrategy(self, request: Any, context: Any) -> Any:
        report = report_on(values_pb2.CODE_KIND_STRATEGY, request.file_name, request.content)
        return strategy.ValidateStrategyResponse(report=report)

    async def ValidateBroker(self, request: Any, context: Any) -> Any:
        report = report_on(values_pb2.CODE_KIND_BROKER, request.file_name, request.content)
        return trading.ValidateBrokerResponse(report=report)

    async def ApplyCode(self, request: Any, context: Any) -> Any:
        self.applied.append(request)
        return strategy.ApplyCodeResponse(state=strategy.CODE_APPLY_STATE_NOT_RUNNING)

    async def ListInstances(self, request: Any, context: Any) -> Any:
        fields = {"strategy": Field("strategy"), "broker": Field("broker")}
        passes = predicate(request.filter, fields)
        found = [one for one in self.instances.values() if passes({"strategy": one.strategy, "broker": one.broker})]
        return strategy.ListInstancesResponse(instances=found)

    async def DeleteInstance(self, request: Any, context: Any) -> Any:
        self.deleted.append(request.instance_id)
        self.instances.pop(request.instance_id, None)
        return strategy.DeleteInstanceResponse()


@dataclass(frozen=True)
class Failure:
    """What a client sees of a failed call."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status
    trailing: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """The reason of the contract."""
        return str(self.find(error_details_pb2.ErrorInfo).reason)

    @property
    def violations(self) -> dict[str, str]:
        """The fields that are wrong, and what is wrong with each."""
        return {v.field: v.description for v in self.find(error_details_pb2.BadRequest).field_violations}

    def find(self, kind: Any) -> Any:
        """Return the detail of a kind."""
        found = kind()
        assert any(detail.Unpack(found) for detail in self.status.details), f"no {kind.__name__} in {self.status}"
        return found

    def everything(self) -> str:
        """All that reached the client, as one text."""
        return " ".join((self.message, repr(self.status), repr(self.trailing)))


async def failure_of(call: Any) -> Failure:
    """Await a call that must fail and return what the client sees."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
        return Failure(error.code(), error.details() or "", status, trailing)
    raise AssertionError("the call must fail, did not")


@dataclass
class Stage:
    """The registry as a client sees it, and what is around it."""

    channel: grpc.aio.Channel
    tokens: Mapping[str, str]
    database: Database
    datahub: PlayedDataHub
    engine: PlayedEngine
    stop_datahub: Callable[[], Any]
    stop_engine: Callable[[], Any]
    events: Events
    context: Any
    drain: Callable[[], Any]
    target: str
    """Where the registry listens."""
    upkeep: Upkeep
    """What follows assets, mappings and members: refreshed by a test instead of waited for."""

    @property
    def code(self) -> Any:
        """The code service, called as an administrator."""
        return self.code_as("admin")

    def code_as(self, who: str) -> Any:
        """The code service, called by somebody."""
        return _Calling(code_service_pb2_grpc.CodeServiceStub(self.channel), self.as_(who))

    async def until_built_ins(self) -> None:
        """Wait until the built-in providers have their entries, which are written as the service starts."""
        count = "select count(*) from registry.code_registry where built_in and name in ('kraken', 'simulated')"
        while await self.database.fetchval(count) < 2:  # noqa: ASYNC110  # another process's database cannot set an event
            await asyncio.sleep(0.01)

    @property
    def subscriptions(self) -> Any:
        """The subscription service, called as an operator."""
        return self.subscriptions_as("operator")

    def subscriptions_as(self, who: str) -> Any:
        """The subscription service, called by somebody."""
        return _Calling(subscription_service_pb2_grpc.SubscriptionServiceStub(self.channel), self.as_(who))

    def as_(self, who: str) -> dict[str, Any]:
        """Return the call options of a caller, with a deadline that keeps a failing test short."""
        return {"metadata": (("authorization", f"Bearer {self.tokens[who]}"),), "timeout": 60}

    async def kinds_of_events(self) -> list[str]:
        """Return the kinds of all recorded events but those of built-in code and its indices, oldest first."""
        return [
            row["kind"]
            for row in await self.database.fetch(
                f"select kind from ops.events where {BY_SOMEBODY} order by id"  # written by us
            )
        ]

    async def last_event(self, kind: str) -> Any:
        """Return the newest event of a kind."""
        return await self.database.fetchrow("select * from ops.events where kind = $1 order by id desc limit 1", kind)


class _Calling:
    """A stub whose calls show a token."""

    def __init__(self, stub: Any, options: dict[str, Any]) -> None:
        self._stub = stub
        self._options = options

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)
        return lambda request: method(request, **self._options)


async def _serve(stack: AsyncExitStack, add: Callable[[grpc.aio.Server], None]) -> tuple[int, Callable[[], Any]]:
    server = grpc.aio.server()
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, None)
    return port, lambda: server.stop(None)


@asynccontextmanager
async def staged(database_url: str, context: Any, context_file: Path, home: Path) -> AsyncIterator[Stage]:
    """Serve a registry between its played neighbours."""
    # Methods that are not played answer UNIMPLEMENTED, as the generated classes do.
    datahub, engine, clock = PlayedDataHub(), PlayedEngine(), SystemClock()  # type: ignore[abstract]
    async with AsyncExitStack() as stack:

        def add_datahub(server: grpc.aio.Server) -> None:
            provider_service_pb2_grpc.add_ProviderServiceServicer_to_server(datahub, server)
            collection_grpc.add_CollectionServiceServicer_to_server(datahub, server)
            market_data_service_pb2_grpc.add_MarketDataServiceServicer_to_server(datahub, server)

        def add_engine(server: grpc.aio.Server) -> None:
            strategy_grpc.add_StrategyServiceServicer_to_server(engine, server)
            trading_grpc.add_TradingServiceServicer_to_server(engine, server)

        datahub_port, stop_datahub = await _serve(stack, add_datahub)
        engine_port, stop_engine = await _serve(stack, add_engine)
        settings = RegistrySettings(
            part=REGISTRY,
            home=Home(home),
            database_url=database_url,
            system_context=context_file,
            host="127.0.0.1",
            port=0,
            metrics_port=None,
            peers={"datahub": f"127.0.0.1:{datahub_port}", "strategy": f"127.0.0.1:{engine_port}"},
            max_series=MAX_SERIES,
        )
        server = await build(settings, stack)
        port = await server.start()
        stack.push_async_callback(server.drain)
        database = await stack.enter_async_context(await Database.open(database_url, application_name="quasar-tests"))
        events = Events(database, "tests", clock)
        made = Tokens(database, events, clock)
        tokens = {role.word: (await made.create(role.word, role, actor=_TESTER))[1] for role in Role}
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        stack.push_async_callback(channel.close)
        upkeep = Upkeep(database, clock, lambda text, first: ASSETS.where(text, first_parameter=first))
        yield Stage(
            channel,
            tokens,
            database,
            datahub,
            engine,
            stop_datahub,
            stop_engine,
            events,
            context,
            server.drain,
            f"127.0.0.1:{port}",
            upkeep,
        )


async def provide(stage: Stage, name: str = "alpha", symbols: tuple[str, ...] = (), **declared: Any) -> None:
    """Upload and activate a provider; with symbols it can list them and did."""
    if symbols:
        capabilities = ["HISTORICAL", "LIVE", "SYMBOLS"]
        declared = {"capabilities": [f"PROVIDER_CAPABILITY_{one}" for one in capabilities], **declared}
    await stage.code.UploadCode(
        code_service_pb2.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_PROVIDER,
            file_name=f"{name}.py",
            content=source(name, **declared),
            activate=True,
        )
    )
    await list_assets(stage, name, symbols)


async def list_assets(stage: Stage, provider_name: str, symbols: Iterable[str], **columns: str) -> None:
    """Put assets of a provider where a sync puts them."""
    values = {"asset_class": "crypto", "exchange": "", "quote_currency": "USD", **columns}
    await stage.database.execute(
        "insert into registry.assets (code_id, symbol, asset_class, exchange, quote_currency) "
        "select c.code_id, s, $3, $4, $5 from registry.code_registry c, unnest($2::text[]) s where c.name = $1",
        provider_name,
        list(symbols),
        values["asset_class"],
        values["exchange"],
        values["quote_currency"],
    )


async def map_symbol(stage: Stage, provider_name: str, symbol: str, common_symbol: str, origin: str = "MANUAL") -> None:
    """Map an asset to a common symbol."""
    await stage.database.execute(
        "insert into registry.common_symbols (symbol) values ($1) on conflict (lower(symbol)) do nothing", common_symbol
    )
    await stage.database.execute(
        "insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin) "
        "select a.asset_id, a.code_id, s.common_symbol_id, $4 from registry.assets a "
        "join registry.code_registry c using (code_id), registry.common_symbols s "
        "where c.name = $1 and a.symbol = $2 and lower(s.symbol) = lower($3)",
        provider_name,
        symbol,
        common_symbol,
        origin,
    )


async def make_index(stage: Stage, name: str, members: Iterable[str]) -> None:
    """Make a user index of common symbols."""
    await stage.database.execute("insert into registry.indices (name, type) values ($1, 'USER')", name)
    await stage.database.execute(
        "insert into registry.index_memberships (index_id, common_symbol_id, valid_from) "
        "select i.index_id, s.common_symbol_id, '2020-01-01' from registry.indices i, registry.common_symbols s "
        "where i.name = $1 and s.symbol = any($2)",
        name,
        list(members),
    )
