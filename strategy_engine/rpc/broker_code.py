"""Code of brokers: its validation, and what a broker trades."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from quasar.clock import Clock
from quasar.convert.manifest import asset_class_to_proto
from quasar.convert.plugin_report import report_to_proto
from quasar.errors import FailedPrecondition, Resource, Unimplemented
from quasar.model.asset_classes import parse_asset_class
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.validation import validate
from quasar_proto.datahub.v1 import provider_pb2
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from strategy_engine.rpc.account_messages import PAPER
from strategy_engine.rpc.values import plain
from strategy_engine.store.paper_table import PaperTable
from strategy_engine.strategies.directory import StrategyDirectory

_BATCH: Final = 1_000


class BrokerCode:
    """Validates brokers, and asks them what they trade."""

    def __init__(
        self,
        directory: StrategyDirectory,
        pool: PluginPool,
        paper: PaperTable,
        clock: Clock,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Serve code of brokers.

        Args:
            directory: The stored brokers.
            pool: Runs them.
            paper: What the platform's own broker trades.
            clock: Limits trials.
            new_id: Sets the process of one call apart from others of the same broker.
        """
        self._directory = directory
        self._pool = pool
        self._paper = paper
        self._clock = clock
        self._new_id = new_id

    async def validate(self, request: pb.ValidateBrokerRequest) -> pb.ValidateBrokerResponse:
        """Read a file, then try it out in the jail; everything found is in the report."""
        report = await validate(
            Kind.BROKER,
            request.file_name,
            request.content,
            static_only=request.static_only,
            secrets=dict(request.secrets),
            preferences=plain(request.preferences),
            validator="strategy",
            clock=self._clock,
        )
        return pb.ValidateBrokerResponse(report=report_to_proto(report))

    async def instruments(
        self, request: pb.ListBrokerInstrumentsRequest
    ) -> AsyncGenerator[pb.ListBrokerInstrumentsResponse, None]:
        """Yield what a broker trades; one that is uploaded runs in a process of its own for the call.

        Raises:
            NotFound: The broker is unknown or not active.
            FailedPrecondition: Its class does not list instruments.
            QuasarError: It could not be started, or failed.
        """
        size = request.batch_size or _BATCH
        if request.name.lower() == PAPER.lower():
            async with aclosing(self._paper.instruments(size)) as pages:
                async for rows in pages:
                    yield pb.ListBrokerInstrumentsResponse(instruments=[_paper_instrument(row) for row in rows])
            return
        async with aclosing(self._uploaded(request.name, size)) as answers:
            async for answer in answers:
                yield answer

    async def _uploaded(self, name: str, size: int) -> AsyncGenerator[pb.ListBrokerInstrumentsResponse, None]:
        entry = await self._directory.get(name)
        call = f"instruments-{self._new_id().hex[:12]}"
        try:
            broker = await self._pool.broker(entry.code, call)
            async with aclosing(broker.instruments(size)) as pages:
                async for page in pages:
                    yield pb.ListBrokerInstrumentsResponse(
                        instruments=page.instruments, errors=page.errors, error_count=page.error_count
                    )
        except Unimplemented as error:
            raise FailedPrecondition(
                f"The broker {entry.name} does not list instruments; its class must override `instruments`.",
                resource=Resource("broker", entry.name),
            ) from error
        finally:
            await self._pool.stop(Kind.BROKER, entry.code.name, call)


def _paper_instrument(row: Mapping[str, Any]) -> provider_pb2.ProviderSymbol:
    kind = parse_asset_class(row["asset_class"]) if row["asset_class"] else None
    return provider_pb2.ProviderSymbol(
        symbol=row["symbol"],
        primary_id=row["identity_id"],
        name=row["name"],
        exchange=row["exchange"],
        asset_class=asset_class_to_proto(kind),
        base_currency=row["base_currency"],
        quote_currency=row["quote_currency"],
        country=row["country"],
        active=True,
    )
