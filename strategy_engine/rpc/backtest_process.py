"""Runs a back-test in a process of its own, through the handle of the plug-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from quasar.model.asset_classes import parse_asset_class
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.strategy import BacktestSpec, StrategyInput
from quasar_proto.strategy.v1 import backtest_pb2
from strategy_engine.backtests.records import Job, LoadedSeries, Records
from strategy_engine.rpc.record_messages import records_of


class BacktestProcess:
    """Implements `strategy_engine.backtests.records.Engine`: one process for each back-test."""

    def __init__(self, pool: PluginPool) -> None:
        """Run back-tests in processes of `pool`."""
        self._pool = pool

    async def run(self, job: Job) -> AsyncIterator[Records]:
        """Yield progress and records; the last one holds the outcome."""
        name = str(job.backtest_id)
        spec = BacktestSpec(
            backtest_id=name,
            series=[strategy_input(each) for each in job.series],
            parameters=job.parameters,
            # The figures are reckoned from all that happened, whatever of it is kept.
            terms={**job.terms, "record_level": backtest_pb2.RecordLevel.Name(backtest_pb2.RECORD_LEVEL_FULL)},
        )
        try:
            handle = await self._pool.strategy(job.code, name)
            async with aclosing(handle.run_backtest(spec)) as messages:
                async for message in messages:
                    yield records_of(message)
        finally:
            await self._pool.stop(Kind.STRATEGY, job.code.name, name)


def strategy_input(series: LoadedSeries) -> StrategyInput:
    """Return a series as the process takes it."""
    facts = series.facts
    return StrategyInput(
        name=facts.name,
        interval=facts.interval,
        provider=facts.provider,
        symbol=facts.symbol,
        bars=series.bars,
        asset_class=parse_asset_class(facts.asset_class) if facts.asset_class else None,
        exchange=facts.exchange,
        calendar=facts.calendar,
        currency=facts.currency,
        alias=series.wanted.alias,
        read_only=series.wanted.read_only,
        multiplier=facts.multiplier,
    )
