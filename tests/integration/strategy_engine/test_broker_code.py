"""Brokers that were uploaded: their validation, and the instruments that they trade, from real jailed processes."""

from __future__ import annotations

from importlib import resources
from string import Template
from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.ops.v1 import system_service_pb2, system_service_pb2_grpc
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from quasar_proto.strategy.v1 import trading_service_pb2_grpc
from tests.integration.rpc.harness import failure_of
from tests.integration.strategy_engine.code_rows import store_strategy
from tests.integration.strategy_engine.conftest import Bearers, Running, as_

_OWN = """    async def instruments(self) -> AsyncIterator[Instrument]:
        yield self.instrument("ABC", asset_class="equity", quote_currency="USD")
"""
MANY = """    async def instruments(self):
        from decimal import Decimal
        from quasar.sdk.notices import RejectedRow
        for number in range(25):
            yield self.instrument(
                f"EUR/{number}", asset_class="crypto", name=f"Euro {number}",
                price_step=Decimal("0.01"), exchange="xkrk",
            )
        yield RejectedRow("price_step is null", {}, symbol="BAD")
        yield [self.instrument("TWO WORDS"), self.instrument("ÜÖ")]
"""
BROKEN = """    async def instruments(self):
        yield self.instrument("ABC")
        raise RuntimeError("the vendor's list is broken")
"""


def source(name: str, instruments: str = _OWN) -> bytes:
    """Return the broker of the template with a list of instruments of its own."""
    text = resources.files("quasar.cli").joinpath("templates", "broker.py.txt").read_text()
    words = {"name": name, "title": "Mine", "file": f"{name}.py", "module": name, "class_name": "Mine"}
    return Template(text).substitute(words).replace(_OWN, instruments).encode()


@pytest.fixture
async def stub(service: Running) -> Any:
    return service.stub(trading_service_pb2_grpc.TradingServiceStub)


async def listed(stub: Any, bearers: Bearers, name: str, batch_size: int = 0) -> list[Any]:
    request = pb.ListBrokerInstrumentsRequest(name=name, batch_size=batch_size)
    return [page async for page in stub.ListBrokerInstruments(request, **as_(bearers.operator))]


async def test_a_broker_tells_what_it_trades_in_pages_and_its_process_ends(
    service: Running, stub: Any, bearers: Bearers, database: Database
) -> None:
    await store_strategy(database, "venue", source("venue", MANY), kind="broker")
    pages = await listed(stub, bearers, "venue", 10)
    assert [len(page.instruments) for page in pages] == [10, 10, 7]
    found = [one for page in pages for one in page.instruments]
    assert [one.symbol for one in found[:2]] == ["EUR/0", "EUR/1"]
    assert [one.symbol for one in found[-2:]] == ["TWO WORDS", "ÜÖ"]
    first = found[0]
    assert (first.name, first.exchange, first.price_step.value) == ("Euro 0", "XKRK", "0.01")
    assert first.asset_class == values_pb2.ASSET_CLASS_CRYPTO
    assert [error for page in pages for error in page.errors] == ["BAD: price_step is null"]
    assert pages[-1].error_count == 1

    system = service.stub(system_service_pb2_grpc.SystemServiceStub)
    left = await system.ListPluginProcesses(system_service_pb2.ListPluginProcessesRequest(), **as_(bearers.operator))
    assert list(left.processes) == []


async def test_a_broker_that_cannot_say_what_it_trades_says_why(
    stub: Any, bearers: Bearers, database: Database
) -> None:
    await store_strategy(database, "silent", source("silent", ""), kind="broker")
    await store_strategy(database, "broken", source("broken", BROKEN), kind="broker")
    cases = [
        ("nobody", grpc.StatusCode.NOT_FOUND, "an active broker 'nobody'"),
        ("silent", grpc.StatusCode.FAILED_PRECONDITION, "must override `instruments`"),
        ("broken", grpc.StatusCode.FAILED_PRECONDITION, "the vendor's list is broken"),
    ]
    for name, code, words in cases:
        failure = await failure_of(listed(stub, bearers, name))
        assert failure.code == code, name
        assert words in failure.message, name


async def test_the_paper_broker_trades_every_common_symbol_that_is_mapped(
    stub: Any, bearers: Bearers, database: Database
) -> None:
    await database.execute(
        """
        with c as (insert into registry.code_registry (kind, name) values ('provider', 'files') returning code_id),
        a as (
            insert into registry.assets (code_id, symbol, name, asset_class, exchange, quote_currency)
            select code_id, 'S' || i, 'Name ' || i, 'equity', 'XNAS', 'USD' from c, generate_series(1, 3) i
            returning asset_id, code_id, symbol
        ),
        s as (
            insert into registry.common_symbols (symbol) select 'C' || symbol from a returning common_symbol_id, symbol
        )
        insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, active, origin)
        select a.asset_id, a.code_id, s.common_symbol_id, a.symbol <> 'S2', 'MANUAL'
        from a join s on s.symbol = 'C' || a.symbol
        """
    )
    pages = await listed(stub, bearers, "paper", 1)
    assert [[one.symbol for one in page.instruments] for page in pages] == [["CS1"], ["CS3"]]
    (one,) = pages[0].instruments
    assert (one.name, one.exchange, one.quote_currency) == ("Name 1", "XNAS", "USD")
    assert one.asset_class == values_pb2.ASSET_CLASS_EQUITY


async def test_a_broker_is_validated_and_its_manifest_says_whether_it_lists(stub: Any, bearers: Bearers) -> None:
    async def report(content: bytes) -> Any:
        request = pb.ValidateBrokerRequest(file_name="venue.py", content=content)
        return (await stub.ValidateBroker(request, **as_(bearers.admin))).report

    listing, silent = await report(source("venue")), await report(source("venue", ""))
    assert (listing.passed, silent.passed) == (True, True), (listing, silent)
    assert listing.manifest.kind == values_pb2.CODE_KIND_BROKER
    assert list(listing.manifest.capabilities) == [values_pb2.PROVIDER_CAPABILITY_SYMBOLS]
    assert list(silent.manifest.capabilities) == []
    bad = await report(b"class Nothing: pass")
    assert not bad.passed
    assert "Broker" in bad.findings[0].message
