"""Composition root of the StrategyEngine: everything is built here, from the settings, and nothing at import."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quasar.client.channel import Channel
from quasar.config import Settings
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.rpc.ops.floor import Floor, lay
from quasar.rpc.server import RpcServer
from strategy_engine.backtests.runner import KIND, BacktestRunner
from strategy_engine.backtests.starting import BacktestStart
from strategy_engine.rpc import peers
from strategy_engine.rpc.backtest_messages import series_document, task_of
from strategy_engine.rpc.backtest_process import BacktestProcess
from strategy_engine.rpc.backtest_service import BacktestService
from strategy_engine.rpc.contract import SERVICES
from strategy_engine.rpc.datahub_bars import DatahubBars
from strategy_engine.store.backtest_table import BacktestTable
from strategy_engine.strategies.directory import StrategyDirectory
from strategy_engine.strategies.processes import StrategyProcesses


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server, not started; what was opened is closed with the stack."""
    floor = await lay(settings, stack)
    datahub = await peers.connect(floor, "datahub", stack)
    directory = StrategyDirectory(floor.database, floor.context)
    process = ProcessSettings(service=floor.service, log_level=settings.log.level)
    folder = settings.home.path / "strategy_code"
    pool = await stack.enter_async_context(PluginPool(folder, settings=process, clock=floor.clock))
    servicers: tuple[object, ...] = (_backtest_service(floor, datahub, directory, pool),)
    return floor.serve(servicers, contract=SERVICES, plugin_processes=StrategyProcesses(pool).list)


def _backtest_service(
    floor: Floor, datahub: Channel, directory: StrategyDirectory, pool: PluginPool
) -> BacktestService:
    table = BacktestTable(floor.database)
    start = BacktestStart(table, floor.operations, directory, floor.clock)
    engine = BacktestProcess(pool)
    bars = DatahubBars(datahub)
    runner = BacktestRunner(table, bars, engine, start.code_of, task_of, series_document, floor.clock)
    floor.runner.register(KIND, runner.run)
    return BacktestService(start, table, floor.clock)  # type: ignore[abstract]  # the rest answers UNIMPLEMENTED
