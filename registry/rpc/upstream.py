"""The services that run sources, over gRPC: the DataHub has the providers, the strategy engine the brokers."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from typing import Final

from quasar.client.channel import Channel
from quasar.rpc.wellknown import instant, seconds
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import provider_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1 import provider_service_pb2_grpc as stubs
from quasar_proto.strategy.v1 import trading_service_pb2 as trading
from quasar_proto.strategy.v1 import trading_service_pb2_grpc as trading_stubs
from registry.assets.rows import SourceSymbol
from registry.assets.sources import Source
from registry.assets.upstream import Constituents, SourceConstituent, SymbolPage
from registry.code.refs import CodeKind
from registry.rpc.words import class_word

BATCH: Final = 5000
READY_S: Final = 3.0
_MOST_DIGITS: Final = 64
CONSTITUENTS_S: Final = 120.0
"""A vendor may take its time; an index is one call."""


class RemoteUpstream:
    """The DataHub as the one that runs providers, the strategy engine as the one that runs brokers."""

    def __init__(self, datahub: Channel, strategy_engine: Channel) -> None:
        """Call through these channels."""
        self._datahub = datahub
        self._strategy_engine = strategy_engine
        self._providers = datahub.stub(stubs.ProviderServiceStub)
        self._trading = strategy_engine.stub(trading_stubs.TradingServiceStub)

    async def require(self, source: Source | None) -> None:
        """Make sure that the service that runs a source takes connections; None: that of all providers.

        Raises:
            ServiceUnavailable: It does not.
        """
        broker = source is not None and source.ref.kind is CodeKind.BROKER
        await (self._strategy_engine if broker else self._datahub).ready(READY_S)

    async def symbols(self, source: Source) -> AsyncGenerator[SymbolPage, None]:
        """Yield the symbols of a source, page by page.

        Raises:
            QuasarError: Whatever the service answers.
        """
        pages = self._of_broker(source) if source.ref.kind is CodeKind.BROKER else self._of_provider(source)
        async with aclosing(pages):
            async for page in pages:
                yield page

    async def _of_provider(self, source: Source) -> AsyncGenerator[SymbolPage, None]:
        request = pb.ListProviderSymbolsRequest(name=source.ref.name, batch_size=BATCH)
        async with aclosing(self._providers.ListProviderSymbols(request)) as answers:  # type: ignore[type-var]  # the channel's streams are generators
            async for answer in answers:
                yield SymbolPage(
                    symbols=[_symbol(each) for each in answer.symbols],
                    total=answer.total if answer.HasField("total") else None,
                    errors=list(answer.errors),
                    error_count=answer.error_count,
                    wait_s=seconds(answer.rate_limit_wait),
                )

    async def _of_broker(self, source: Source) -> AsyncGenerator[SymbolPage, None]:
        request = trading.ListBrokerInstrumentsRequest(name=source.ref.name, batch_size=BATCH)
        async with aclosing(self._trading.ListBrokerInstruments(request)) as answers:  # type: ignore[type-var]  # as above
            async for answer in answers:
                yield SymbolPage(
                    symbols=[_symbol(each) for each in answer.instruments],
                    errors=list(answer.errors),
                    error_count=answer.error_count,
                )

    async def constituents(self, source: Source, index: str, as_of: dt.date | None) -> Constituents:
        """Return the constituents of a provider's index.

        Raises:
            QuasarError: Whatever the DataHub answers.
        """
        request = pb.ListConstituentsRequest(
            name=source.ref.name, index=index, as_of_date=as_of.isoformat() if as_of else ""
        )
        answer = await self._providers.ListConstituents(request, timeout=CONSTITUENTS_S)
        return Constituents([_constituent(each) for each in answer.constituents], list(answer.errors))


def _symbol(told: provider_pb2.ProviderSymbol) -> SourceSymbol:
    return SourceSymbol(
        symbol=told.symbol,
        external_id=told.provider_id,
        primary_id=told.primary_id or told.isin,
        matcher_symbol=told.matcher_symbol,
        name=told.name,
        exchange=told.exchange,
        asset_class=class_word(told.asset_class),
        base_currency=told.base_currency,
        quote_currency=told.quote_currency,
        country=told.country,
        price_increment=_decimal(told.price_step) if told.HasField("price_step") else None,
        size_increment=_decimal(told.size_step) if told.HasField("size_step") else None,
        minimum_size=_decimal(told.min_size) if told.HasField("min_size") else None,
        multiplier=_decimal(told.multiplier) if told.HasField("multiplier") else None,
        expires_at=instant(told.delist_time) if told.HasField("delist_time") else None,
    )


def _constituent(told: provider_pb2.Constituent) -> SourceConstituent:
    asset = SourceSymbol(
        symbol=told.symbol,
        primary_id=told.primary_id,
        matcher_symbol=told.matcher_symbol,
        name=told.name,
        exchange=told.exchange,
        asset_class=class_word(told.asset_class),
        base_currency=told.base_currency,
        quote_currency=told.quote_currency,
    )
    return SourceConstituent(asset, told.weight if told.HasField("weight") else None)


def _decimal(message: values_pb2.Decimal) -> Decimal | None:
    """Return a size; what is no number, not above 0, or of more digits than any size has, is not known."""
    try:
        size = Decimal(message.value)
    except ArithmeticError:
        return None
    usual = size.is_finite() and size > 0 and abs(size.adjusted()) <= _MOST_DIGITS
    return size if usual and len(size.as_tuple().digits) <= _MOST_DIGITS else None
