"""Composition root of the StrategyEngine: everything is built here, from the settings, and nothing at import."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from quasar.config import Settings
from quasar.plugins.incidents import Incidents
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.rpc.ops.floor import Floor, lay
from quasar.rpc.server import RpcServer
from strategy_engine.backtests import runner as backtests
from strategy_engine.backtests.records import LoadedSeries, WantedSeries
from strategy_engine.backtests.starting import BacktestStart
from strategy_engine.instances.run import Surroundings
from strategy_engine.instances.summaries import Summaries
from strategy_engine.instances.supervisor import Supervisor
from strategy_engine.rpc import peers
from strategy_engine.rpc.account_messages import market_rules
from strategy_engine.rpc.backtest_messages import operation_result, series_document, task_of
from strategy_engine.rpc.backtest_process import BacktestProcess
from strategy_engine.rpc.backtest_service import BacktestService
from strategy_engine.rpc.broker_code import BrokerCode
from strategy_engine.rpc.contract import SERVICES
from strategy_engine.rpc.datahub_bars import DatahubBars
from strategy_engine.rpc.datahub_live import DatahubLive
from strategy_engine.rpc.order_messages import OrderDocuments, flatten_result
from strategy_engine.rpc.policy_service import PolicyService
from strategy_engine.rpc.portfolio_service import PortfolioService
from strategy_engine.rpc.run_process import RunStage
from strategy_engine.rpc.strategy_service import StrategyService
from strategy_engine.rpc.trading_service import TradingService
from strategy_engine.rpc.universe_messages import stored_universe
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.backtest_table import BacktestTable
from strategy_engine.store.cash_table import CashTable
from strategy_engine.store.instance_table import InstanceTable
from strategy_engine.store.instrument_table import InstrumentTable
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.paper_table import PaperTable
from strategy_engine.store.policy_table import PolicyTable
from strategy_engine.strategies.directory import StrategyDirectory
from strategy_engine.strategies.processes import StrategyProcesses
from strategy_engine.trading import flattening
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.feed import LiveFeed
from strategy_engine.trading.floor import PaperFloor
from strategy_engine.trading.losses import LossGuard
from strategy_engine.trading.quotes import DescribedBars, Quotes
from strategy_engine.trading.records import TradeRecords
from strategy_engine.trading.states import TradingStates
from strategy_engine.trading.survey import Survey
from strategy_engine.trading.treasury import Treasury


@dataclass(frozen=True, slots=True)
class _Parts:
    """What several services of this process share."""

    floor: Floor
    bars: DescribedBars
    directory: StrategyDirectory
    pool: PluginPool
    desk: TradingDesk
    survey: Survey
    feed: LiveFeed
    states: TradingStates


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server, not started; what was opened is closed with the stack."""
    floor = await lay(settings, stack)
    datahub = await peers.connect(floor, "datahub", stack)
    live = await peers.connect(floor, "datahub", stack, live=True)
    process = ProcessSettings(service=floor.service, log_level=settings.log.level)
    folder = settings.home.path / "strategy_code"
    incidents = Incidents(floor.database, floor.events, floor.clock)
    floor.background.start(incidents.run(), "incidents")
    pool = await stack.enter_async_context(
        PluginPool(folder, settings=process, clock=floor.clock, on_containment=incidents.note)
    )
    directory = StrategyDirectory(floor.database, floor.context)
    parts = _trading(floor, DatahubBars(datahub), DatahubLive(live), directory, pool)
    servicers: tuple[object, ...] = (
        _backtest_service(parts),
        _policy_service(parts),
        _portfolio_service(parts),
        _strategy_service(parts),
        _trading_service(parts),
    )
    guard = LossGuard(parts.desk, parts.survey, parts.desk.records.policies, parts.states, floor.clock)
    floor.background.start(guard.run(), "losses")
    floor.background.start(parts.states.run(), "trading states")
    floor.background.start(parts.feed.run(), "live data")
    return floor.serve(servicers, contract=SERVICES, plugin_processes=StrategyProcesses(pool).list)


def _trading(
    floor: Floor, bars: DatahubBars, live: DatahubLive, directory: StrategyDirectory, pool: PluginPool
) -> _Parts:
    documents = OrderDocuments()
    accounts, policies = AccountTable(floor.database), PolicyTable(floor.database)
    orders = OrderTable(floor.database, documents)

    async def newest(wanted: WantedSeries) -> LoadedSeries:
        return (await bars.newest([wanted], 1))[0]

    instruments = InstrumentTable(floor.database)
    quotes = Quotes(instruments.find, newest, instruments.described, floor.clock)
    survey = Survey(accounts, orders, policies, quotes, market_rules, floor.clock)
    paper = PaperFloor(accounts, orders, quotes, market_rules, floor.clock)
    records = TradeRecords(orders, accounts, policies, CashTable(floor.database), floor.events, documents)
    desk = TradingDesk(records, survey, paper, quotes, floor.clock)
    feed = LiveFeed(live, desk, quotes, floor.clock)
    desk.want = feed.want
    states = TradingStates(desk, survey, policies, floor.events, floor.clock)
    return _Parts(floor, DescribedBars(bars, instruments.described), directory, pool, desk, survey, feed, states)


def _backtest_service(parts: _Parts) -> BacktestService:
    floor = parts.floor
    table = BacktestTable(floor.database)
    start = BacktestStart(table, floor.operations, parts.directory, floor.events, floor.clock)
    runner = backtests.BacktestRunner(
        table,
        parts.bars,
        BacktestProcess(parts.pool),
        start.code_of,
        task_of,
        series_document,
        operation_result,
        floor.events,
        floor.clock,
    )
    floor.runner.register(backtests.KIND, runner.run)
    return BacktestService(start, table, parts.bars, floor.clock)  # type: ignore[abstract]  # the rest answers UNIMPLEMENTED


def _policy_service(parts: _Parts) -> PolicyService:
    floor = parts.floor
    policies = parts.desk.records.policies
    return PolicyService(policies, parts.desk, parts.survey, parts.states, floor.events, floor.clock)


def _portfolio_service(parts: _Parts) -> PortfolioService:
    floor, records = parts.floor, parts.desk.records
    return PortfolioService(
        records.accounts,
        records.cash,
        records.orders,
        parts.survey,
        floor.events,
        floor.server.draining,
        floor.clock,
    )


def _trading_service(parts: _Parts) -> TradingService:
    floor = parts.floor
    flattener = flattening.Flattener(
        parts.desk, parts.survey, parts.states, floor.operations, floor.events, floor.clock, flatten_result
    )
    floor.runner.register(flattening.KIND, flattener.run)
    brokers = StrategyDirectory(floor.database, floor.context, kind=Kind.BROKER)
    broker_code = BrokerCode(brokers, parts.pool, PaperTable(floor.database), floor.clock)
    treasury = Treasury(parts.desk, parts.survey, parts.desk.records.cash, floor.events, floor.clock)
    return TradingService(  # type: ignore[abstract]  # the rest answers UNIMPLEMENTED
        parts.desk, parts.survey, flattener, floor.events, floor.server.draining, floor.clock, broker_code, treasury
    )


def _strategy_service(parts: _Parts) -> StrategyService:
    floor = parts.floor
    table = InstanceTable(floor.database)
    around = Surroundings(table, parts.desk, parts.feed, floor.events, floor.clock)
    supervisor = Supervisor(
        around,
        RunStage(parts.pool),
        parts.directory,
        parts.bars,
        parts.survey,
        stored_universe,
        series_document,
    )
    floor.background.start(supervisor.run(), "instances")
    summaries = Summaries(table, parts.desk.records, parts.survey, floor.clock)
    return StrategyService(  # type: ignore[abstract]  # the rest answers UNIMPLEMENTED
        table,
        supervisor,
        parts.directory,
        parts.desk,
        summaries,
        parts.bars,
        floor.events,
        floor.server.draining,
        floor.clock,
    )
