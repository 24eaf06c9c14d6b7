"""`quasar.datahub.v1.ProviderService`: providers at run time, and direct questions to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from datahub.rpc.fetch_bars import fetched
from datahub.rpc.listed import listed, members
from datahub.rpc.probe import Probe
from datahub.rpc.provider_messages import provider_message
from datahub.store.statements import SQL
from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, InvalidFilter, Unimplemented
from quasar.filters import Field, predicate
from quasar.model.instants import to_ns
from quasar.ops.events import Events
from quasar.rpc.ops.actors import calling_actor
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import provider_pb2, provider_service_pb2_grpc
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

_STATES = tuple(name.removeprefix("PROVIDER_STATE_") for name in provider_pb2.ProviderState.keys())  # noqa: SIM118
_FIELDS: Mapping[str, Field] = {
    "name": Field("name"),
    "state": Field("state", "enum", _STATES),
    "built_in": Field("built_in", "enum", ("false", "true"), str.lower),
    "paused": Field("paused", "enum", ("false", "true"), str.lower),
    "capability": Field("capability", "list", ("HISTORICAL", "LIVE", "INDEX", "SYMBOLS")),
}
_ORDERS: Mapping[str, Callable[[provider_pb2.Provider], Any]] = {
    "name": lambda provider: provider.name,
    "state": lambda provider: (provider.state, provider.name),
    "last_row_time": lambda provider: (provider.last_row_time.ToNanoseconds(), provider.name),
}

Validate = Callable[[pb.ValidateProviderRequest], Awaitable[pb.ValidateProviderResponse]]


class FeedApi(Protocol):
    """The live half of the service; requests and responses are those of the contract."""

    async def of_provider(self, provider: str) -> Any:
        """Return the connections of a provider."""
        ...

    async def list_feeds(self, request: Any) -> Any:
        """List live connections."""
        ...

    async def list_symbol_feeds(self, request: Any) -> Any:
        """List the symbols on live connections."""
        ...

    def watch_feeds(self, request: Any) -> AsyncGenerator[Any, None]:
        """Stream live connections."""
        ...

    async def reconnect_feed(self, request: Any) -> Any:
        """Make a live connection anew."""
        ...


class ProviderService(provider_service_pb2_grpc.ProviderServiceServicer):
    """Validates, runs and asks providers."""

    def __init__(
        self,
        database: Database,
        runtime: ProviderRuntime,
        clock: Clock,
        *,
        instance_id: str,
        validate: Validate | None = None,
        feeds: FeedApi | None = None,
        events: Events | None = None,
    ) -> None:
        """Serve the providers of `runtime`; without `feeds` the live methods answer UNIMPLEMENTED."""
        self._database = database
        self._runtime = runtime
        self._clock = clock
        self._instance_id = instance_id
        self._validate = validate
        self._maybe_feeds = feeds
        self._events = events

    async def ValidateProvider(self, request: pb.ValidateProviderRequest, context: Any) -> pb.ValidateProviderResponse:
        """Validate code."""
        if self._validate is None:
            raise Unimplemented
        return await self._validate(request)

    async def ListProviders(self, request: pb.ListProvidersRequest, context: Any) -> pb.ListProvidersResponse:
        """Return a page of providers."""
        size = paging.page_size(request.page_size)
        asked = ("ListProviders", request.filter, request.order_by)
        key = paging.page_key(asked, request.page_token)
        begin = int(key[0]) if key else 0
        passes = predicate(request.filter, _FIELDS)
        messages = await self._messages(list((await self._runtime.refresh()).values()))
        matching = _ordered([each for each in messages if passes(_facts(each))], request.order_by)
        response = pb.ListProvidersResponse(providers=matching[begin : begin + size], total_size=len(matching))
        if len(matching) > begin + size:
            response.next_page_token = paging.page_token(asked, [begin + size])
        return response

    async def GetProvider(self, request: pb.GetProviderRequest, context: Any) -> pb.GetProviderResponse:
        """Return one provider."""
        return pb.GetProviderResponse(provider=await self._one(request.name))

    async def RestartProvider(self, request: pb.RestartProviderRequest, context: Any) -> pb.RestartProviderResponse:
        """Start the process of a provider again."""
        entry = await self._known(request.name)
        await self._runtime.restart(entry.name)
        if self._events is not None:
            async with self._database.transaction() as connection:
                await self._events.record(
                    connection,
                    "ProviderRestarted",
                    f"The process of provider {entry.name} was started again.",
                    subject_type="provider",
                    subject_name=entry.name,
                    data={"reason": request.reason},
                    actor=calling_actor(),
                )
        return pb.RestartProviderResponse(provider=await self._one(request.name))

    async def ReloadProvider(self, request: pb.ReloadProviderRequest, context: Any) -> pb.ReloadProviderResponse:
        """Run what the registry has now."""
        outcome = await self._runtime.reload(request.name)
        response = pb.ReloadProviderResponse(outcome=pb.ReloadOutcome.Value(f"RELOAD_OUTCOME_{outcome.value}"))
        if self._runtime.directory.find(request.name) is not None:
            response.provider.CopyFrom(await self._one(request.name))
        return response

    async def ProbeProvider(self, request: pb.ProbeProviderRequest, context: Any) -> pb.ProbeProviderResponse:
        """Check a provider end to end."""
        entry = await self._known(request.name)
        symbol = request.symbol or await self._database.fetchval(SQL["a_subscribed_symbol"], entry.name) or ""
        feeds = self._maybe_feeds.of_provider if self._maybe_feeds is not None else None
        steps = await Probe(entry, self._runtime, self._clock, feeds).run(symbol, request.interval)
        passed = all(step.outcome != provider_pb2.PROBE_OUTCOME_FAILED for step in steps)
        return pb.ProbeProviderResponse(steps=steps, passed=passed)

    async def ListProviderSymbols(
        self, request: pb.ListProviderSymbolsRequest, context: Any
    ) -> AsyncGenerator[pb.ListProviderSymbolsResponse, None]:
        """Stream the symbols that a provider knows."""
        entry = await self._known(request.name)
        if not entry.can("SYMBOLS"):
            raise FailedPrecondition(f"Provider {entry.name} cannot list symbols.")
        handle = await self._runtime.handle(entry.name)
        async for message in listed(handle, request):
            yield message

    async def ListConstituents(self, request: pb.ListConstituentsRequest, context: Any) -> pb.ListConstituentsResponse:
        """Return the constituents of a provider's index."""
        entry = await self._known(request.name)
        return await members(entry, self._runtime, request)

    async def FetchBars(self, request: pb.FetchBarsRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Fetch bars to look at them."""
        entry = await self._known(request.name)
        async for message in fetched(request, entry, self._runtime, self._clock):
            yield message

    async def ListFeeds(self, request: pb.ListFeedsRequest, context: Any) -> pb.ListFeedsResponse:
        """List live connections."""
        response: pb.ListFeedsResponse = await self._feeds.list_feeds(request)
        return response

    async def ListSymbolFeeds(self, request: pb.ListSymbolFeedsRequest, context: Any) -> pb.ListSymbolFeedsResponse:
        """List the symbols on live connections."""
        response: pb.ListSymbolFeedsResponse = await self._feeds.list_symbol_feeds(request)
        return response

    async def WatchFeeds(self, request: pb.WatchFeedsRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream live connections."""
        async with aclosing(self._feeds.watch_feeds(request)) as messages:
            async for message in messages:
                yield message

    async def ReconnectFeed(self, request: pb.ReconnectFeedRequest, context: Any) -> pb.ReconnectFeedResponse:
        """Make a live connection anew."""
        response: pb.ReconnectFeedResponse = await self._feeds.reconnect_feed(request)
        return response

    @property
    def _feeds(self) -> FeedApi:
        if self._maybe_feeds is None:
            raise Unimplemented
        return self._maybe_feeds

    async def _known(self, name: str) -> ProviderEntry:
        if self._runtime.directory.find(name) is None:
            await self._runtime.refresh()
        return self._runtime.directory.get(name)

    async def _one(self, name: str) -> provider_pb2.Provider:
        return (await self._messages([await self._known(name)]))[0]

    async def _messages(self, entries: list[ProviderEntry]) -> list[provider_pb2.Provider]:
        names = [entry.name for entry in entries]
        figures = {row["name"]: row for row in await self._database.fetch(SQL["provider_figures"], names)}
        pauses = {row["provider"]: row for row in await self._database.fetch(SQL["pauses"], "")}
        messages = []
        for entry in entries:
            message = provider_message(
                entry,
                self._runtime,
                pause=pauses.get(entry.name),
                figures=figures.get(entry.name),
                missing=await self._runtime.directory.missing_settings(entry.name),
                instance_id=self._instance_id,
                now_ns=to_ns(self._clock.now()),
            )
            if self._maybe_feeds is not None:
                message.feeds.extend(await self._maybe_feeds.of_provider(entry.name))
            messages.append(message)
        return messages


def _ordered(providers: list[provider_pb2.Provider], order_by: str) -> list[provider_pb2.Provider]:
    words = order_by.split() or ["name"]
    if words[0] not in _ORDERS or words[1:] not in ([], ["asc"], ["desc"]):
        raise InvalidFilter(f"order_by must be one of {', '.join(_ORDERS)}, with or without ' desc', was {order_by!r}.")
    return sorted(providers, key=_ORDERS[words[0]], reverse=words[1:] == ["desc"])


def _facts(provider: provider_pb2.Provider) -> dict[str, Any]:
    names = (values_pb2.ProviderCapability.Name(each) for each in provider.manifest.capabilities)
    return {
        "name": provider.name,
        "state": provider_pb2.ProviderState.Name(provider.state).removeprefix("PROVIDER_STATE_"),
        "built_in": str(provider.built_in).lower(),
        "paused": str(provider.HasField("pause")).lower(),
        "capability": [name.removeprefix("PROVIDER_CAPABILITY_") for name in names],
    }
