"""The steps of the main job; each returns what the report says about it."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal

import aiohttp
import numpy as np

from quasar import errors
from quasar.client.platform import Platform
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns
from quasar.providers.market import MINUTE_NS, Market
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, stream_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection_pb
from quasar_proto.datahub.v1 import market_data_service_pb2 as market_data_pb
from quasar_proto.registry.v1 import asset_service_pb2 as asset_pb
from quasar_proto.registry.v1 import code_service_pb2 as code_pb
from quasar_proto.registry.v1 import subscription_service_pb2 as subscription_pb
from quasar_proto.strategy.v1 import (
    backtest_pb2,
    denial_pb2,
    execution_model_pb2,
    order_pb2,
    policy_pb2,
    strategy_pb2,
    trading_pb2,
    universe_pb2,
)
from quasar_proto.strategy.v1 import backtest_service_pb2 as backtest_pb
from quasar_proto.strategy.v1 import policy_service_pb2 as policy_pb
from quasar_proto.strategy.v1 import portfolio_service_pb2 as portfolio_pb
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy_pb
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb
from scripts.main_job.messages import (
    PAIR,
    compared,
    decimal,
    keep,
    money,
    order,
    provider_code,
    row,
    same_bars,
    subscription,
    symbols,
    truth_fill,
)
from scripts.main_job.recordings import EODHD_TOKEN, ROOT, SEED, TRUTH, Failed, World, must, same

STRATEGY = ROOT / "examples" / "strategies" / "sma_cross.py"
HISTORY_S = 120.0

GOOG = values_pb2.SeriesKey(provider="files", symbol="GOOG", interval="1d")
XRP = values_pb2.SeriesKey(provider="files", symbol="XRP/ETH", interval="5min")
BHP = values_pb2.SeriesKey(provider="eodhd", symbol="BHP.AU", interval="1d")
AAPL = values_pb2.SeriesKey(provider="eodhd", symbol="AAPL.US", interval="5min")
BITCOIN = values_pb2.SeriesKey(provider="kraken", symbol=PAIR, interval="1min")


class Job:
    """The steps; each returns what the report says about it."""

    def __init__(self, quasar: Platform, world: World, page: str, token: str) -> None:
        """Work on a running platform.

        Args:
            quasar: The platform.
            world: What it collects from.
            page: URL of the gateway.
            token: Bearer token of the administrator.
        """
        self.quasar = quasar
        self.recordings = world.recordings
        self.folder = world.folder
        self.kraken = world.kraken
        self.eodhd = world.eodhd
        self.page = page
        self.token = token
        self.market = Market(SEED)
        self.strategy = ""

    async def configure(self) -> str:
        """Point the providers to the local servers."""
        urls = {"rest_url": self.kraken.rest_url, "websocket_url": self.kraken.websocket_url}
        await self._prefer("kraken", urls)
        await self._prefer("eodhd", {"base_url": self.eodhd.base_url, "exchanges": "AU,US"})
        await self._prefer("files", {"folder": str(self.folder)})
        answer = await self.quasar.code.ReplaceSecrets(
            code_pb.ReplaceSecretsRequest(ref=provider_code("eodhd"), secrets={"api_token": EODHD_TOKEN})
        )
        must(EODHD_TOKEN not in str(answer), "a stored secret is never shown")
        return "three providers, one secret"

    async def _prefer(self, provider: str, values: Mapping[str, str]) -> None:
        request = code_pb.UpdatePreferencesRequest(ref=provider_code(provider))
        request.preferences.update(values)
        await self.quasar.code.UpdatePreferences(request)

    async def sync(self) -> str:
        """Take over what the vendors list."""
        totals = []
        for provider in ("kraken", "eodhd", "files"):
            started = await self.quasar.assets.SyncAssets(asset_pb.SyncAssetsRequest(source=provider_code(provider)))
            await self.quasar.finished(started.operation)
            listed = await self.quasar.assets.ListAssets(
                asset_pb.ListAssetsRequest(page_size=1, filter=f'source.name = "{provider}"', include_total=True)
            )
            totals.append(f"{listed.total_size:,} of {provider}")
            must(listed.total_size > 0, f"{provider} lists symbols")
        return ", ".join(totals)

    async def subscribe(self) -> str:
        """Subscribe to five series."""
        starts = {"GOOG": "2004-08-19", "XRP/ETH": "2019-10-11", "BHP.AU": "1990-01-01", "AAPL.US": "2025-01-01"}
        made = [subscription(key, starts[key.symbol], live=False) for key in (GOOG, XRP, BHP, AAPL)] + [
            subscription(BITCOIN, "", live=True)
        ]
        answer = await self.quasar.subscriptions.BatchCreateSubscriptions(
            subscription_pb.BatchCreateSubscriptionsRequest(subscriptions=made)
        )
        same(answer.created, 5, "subscriptions made")
        return "five series of three providers"

    async def backfill(self) -> str:
        """Wait for the history, then compare every bar with its recording."""
        keys = [GOOG, XRP, BHP, AAPL, BITCOIN]
        await self._settled(keys)
        goog, xrp = await self._bars(GOOG), await self._bars(XRP)
        same_bars(goog, self.recordings.goog, "GOOG")
        same_bars(xrp, self.recordings.xrp, "XRP/ETH")
        bhp, aapl = await self._bars(BHP), await self._bars(AAPL)
        same(len(bhp), len(self.recordings.eodhd["eod/BHP.AU"]), "bars of BHP.AU")
        closes = [row["close"] for row in self.recordings.eodhd["eod/BHP.AU"]]
        must(bhp.close.tolist() == closes, "the closes of BHP.AU are the recorded ones")
        recorded = {row["timestamp"]: row["close"] for row in self.recordings.eodhd["intraday/AAPL.US"] if row["close"]}
        must(len(aapl) > 0, "AAPL.US has bars")
        stored = zip((aapl.open_time_ns // 10**9).tolist(), aapl.close.tolist(), strict=True)
        must(all(recorded.get(time) == close for time, close in stored), "the closes of AAPL.US are the recorded ones")
        return f"{len(goog):,} + {len(xrp):,} + {len(bhp):,} + {len(aapl):,} bars equal to their recordings"

    async def _settled(self, keys: Sequence[values_pb2.SeriesKey]) -> None:
        waiting = {
            collection_pb2.SUBSCRIPTION_HEALTH_BACKFILLING,
            collection_pb2.SUBSCRIPTION_HEALTH_UNSPECIFIED,
        }
        request = collection_pb.BatchGetSubscriptionStatesRequest(keys=keys)

        async def look() -> bool:
            states = (await self.quasar.collection.BatchGetSubscriptionStates(request)).states
            for state in states:
                must(
                    state.health != collection_pb2.SUBSCRIPTION_HEALTH_FAILING,
                    f"{state.key.symbol} is collected ({state.detail or state.last_run.error.message})",
                )
            return all(state.health not in waiting and state.rows for state in states)

        await self._until(look, HISTORY_S, "the history arrives")

    async def live(self) -> str:
        """Read live trades, cut the stream, go on from its cursor; cut the vendor's connection in between."""
        seen: list[TickColumns] = []
        cursor = await self._read_trades(seen, 20, "")
        await self.kraken.drop_connections()
        await self.quasar.clock.sleep(3.0)
        await self._read_trades(seen, 40, cursor)
        got = TickColumns.concatenate(seen)
        first, last = int(got.event_time_ns[0]), int(got.event_time_ns[-1])
        # Kraken tells times to the microsecond.
        truth = self.market.trades(PAIR, first - 1_000, last + 1_000)
        assert got.trade_id is not None
        assert truth.trade_id is not None
        ids, wanted = got.trade_id.tolist(), truth.trade_id.tolist()
        same(sorted(set(wanted) - set(ids)), [], "trades lost over both cuts")
        same(len(ids) - len(set(ids)), 0, "trades that came twice")
        same([pair for pair in itertools.pairwise(ids) if pair[1] < pair[0]], [], "trades that came after later ones")
        same(ids, wanted, "ids of the trades")
        assert got.price is not None
        assert truth.price is not None
        must(bool(np.array_equal(got.price, truth.price)), "the prices are the market's")
        return f"{len(got)} trades over a cut stream and a cut feed: none lost, none twice"

    async def _read_trades(self, seen: list[TickColumns], wanted: int, cursor: str) -> str:
        count = 0
        stream = self.quasar.bars_and_ticks.stream("kraken", [PAIR], cursor=cursor, timeout_s=90)
        async with aclosing(stream) as envelopes:
            async for envelope in envelopes:
                count += keep(envelope, seen)
                if count >= wanted:
                    return envelope.cursor
        raise Failed(f"the stream must bring {wanted} trades, ended after {count}")

    async def bars_from_ticks(self) -> str:
        """Wait for a minute that was built from live trades, and compare it with the market's own."""
        stream = self.quasar.bars_and_ticks.stream("kraken", [PAIR], intervals=["1min"], timeout_s=130)
        async with aclosing(stream) as envelopes:
            async for envelope in envelopes:
                bars = envelope.bars.get((PAIR, "1min"))
                # Until a minute has been built there are those that the vendor pushed, which say that they are.
                if bars is not None and len(bars) and bars.origin is None:
                    break
            else:
                raise Failed("a minute must close within two minutes")
        start = int(bars.open_time_ns[-1])
        truth = self.market.minute_bars(PAIR, start, start + MINUTE_NS)
        built, own = row(bars, -1), row(truth, 0)
        same(built, own, f"the bar of {np.datetime64(start, 'ns')}")
        minute = np.datetime64(start, "ns").astype("datetime64[m]")
        return f"open, high, low, close and volume of the minute {minute} are the market's"

    async def browser(self) -> str:
        """Read live trades as a browser does: grpc-web through the gateway."""
        selector = stream_pb2.MarketDataSelector(symbols=symbols("kraken", PAIR))
        request = market_data_pb.StreamMarketDataRequest(selectors=[selector]).SerializeToString()
        headers = {"content-type": "application/grpc-web+proto", "authorization": f"Bearer {self.token}"}
        url = f"{self.page}/quasar.datahub.v1.MarketDataService/StreamMarketData"
        body = b"\x00" + struct.pack(">I", len(request)) + request
        ticks = frames = 0
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            same(answer.status, 200, "status of the gateway")
            while ticks < 5:
                flags, size = struct.unpack(">BI", await answer.content.readexactly(5))
                message = await answer.content.readexactly(size)
                must(not flags & 0x80, f"the stream goes on, was ended by {message!r}")
                envelope = market_data_pb.StreamMarketDataResponse.FromString(message)
                frames += 1
                ticks += sum(len(chunk.event_time_ns) for chunk in envelope.ticks)
        return f"{ticks} trades in {frames} frames"

    async def upload(self) -> str:
        """Upload the example strategy, and be refused with one that has a syntax error."""
        try:
            await self._upload("broken.py", b"class Broken(Strategy:\n")
        except errors.QuasarError as error:
            refused = error.message
        else:
            raise Failed("a strategy with a syntax error must be refused, was taken")
        answer = await self._upload(STRATEGY.name, STRATEGY.read_bytes())
        self.strategy = answer.code.ref.name
        return f"{self.strategy} is active; a broken one is refused: {refused[:60]}"

    async def _upload(self, name: str, content: bytes) -> code_pb.UploadCodeResponse:
        return await self.quasar.code.UploadCode(
            code_pb.UploadCodeRequest(
                kind=values_pb2.CODE_KIND_STRATEGY, file_name=name, content=content, activate=True
            ),
            timeout=120,
        )

    async def backtest(self) -> str:
        """Back-test the cross-over on GOOG and compare every fill with the peers' list."""
        truth = json.loads(TRUTH.read_text(encoding="utf-8"))
        rate = execution_model_pb2.RateCommission(rate=decimal("0.001"))
        execution = execution_model_pb2.ExecutionModel(commission=execution_model_pb2.CommissionModel(rate=rate))
        started = await self.quasar.backtests.StartBacktest(
            backtest_pb.StartBacktestRequest(
                code=backtest_pb2.StrategyCode(strategy=backtest_pb2.StrategyRef(name=self.strategy)),
                universe=universe_pb2.Universe(selectors=[universe_pb2.SeriesSelector(series=GOOG)]),
                terms=backtest_pb2.BacktestTerms(
                    cash=money("100000"), execution=execution, record_level=backtest_pb2.RECORD_LEVEL_FULL
                ),
                request_id=str(uuid.uuid4()),
            )
        )
        await self.quasar.finished(started.operation)
        listed = await self.quasar.backtests.ListBacktestFills(
            backtest_pb.ListBacktestFillsRequest(backtest_id=started.backtest_id, page_size=1000)
        )
        same([compared(fill) for fill in listed.fills], [truth_fill(fill) for fill in truth["fills"]], "fills")
        equity = await self._final_equity(started.backtest_id)
        same(f"{equity:.2f}", f"{truth['equity'][-1]:.2f}", "final equity to the cent")
        return f"{len(listed.fills)} fills equal to the peers' list, final equity {equity:,.3f}"

    async def _final_equity(self, backtest_id: str) -> float:
        last = float("nan")
        curve = self.quasar.channels["strategy"].stream(
            "quasar.strategy.v1.BacktestService/ReadEquity",
            backtest_pb.ReadEquityRequest(backtest_id=backtest_id),
            backtest_pb.ReadEquityRequest.SerializeToString,
            backtest_pb.ReadEquityResponse.FromString,
        )
        async with aclosing(curve) as chunks:
            async for answer in chunks:
                if answer.chunk.equity:
                    last = answer.chunk.equity[-1]
        return last

    async def paper(self) -> str:
        """Run the strategy on paper, and place an order by hand beside it."""
        await self.quasar.trading.CreatePaperAccount(
            trading_pb.CreatePaperAccountRequest(
                account_id="job", paper=trading_pb2.PaperSettings(cash=[money("10000000")])
            )
        )
        instance = strategy_pb2.Instance(
            instance_id="job-cross",
            strategy=self.strategy,
            mode=strategy_pb2.TRADING_MODE_PAPER,
            universe=universe_pb2.Universe(selectors=[universe_pb2.SeriesSelector(series=BITCOIN)]),
            account_id="job",
            capital=money("1000000"),
        )
        instance.parameters.update({"fast": 1, "slow": 2, "quantity": 1})
        await self.quasar.strategies.CreateInstance(strategy_pb.CreateInstanceRequest(instance=instance))
        await self.quasar.strategies.StartInstance(strategy_pb.StartInstanceRequest(instance_id="job-cross"))

        async def runs() -> bool:
            request = strategy_pb.GetInstanceRequest(instance_id="job-cross")
            found = (await self.quasar.strategies.GetInstance(request)).instance
            must(found.state != strategy_pb2.INSTANCE_STATE_FAILED, f"the instance runs ({found.state_text})")
            return found.state == strategy_pb2.INSTANCE_STATE_RUNNING

        await self._until(runs, 60, "the instance runs")
        placed = await self.quasar.trading.PlaceOrder(order("1"))
        await self._until(lambda: self._filled(placed.order.client_order_id), 130, "the order by hand is filled")
        held = await self.quasar.portfolio.ListPositions(portfolio_pb.ListPositionsRequest())
        must(any(Decimal(each.quantity.value) >= 1 for each in held.positions), "the position is in the portfolio")
        return "the instance runs on live bars; an order by hand is filled and held"

    async def _filled(self, client_order_id: str) -> bool:
        found = await self.quasar.trading.GetOrder(trading_pb.GetOrderRequest(client_order_id=client_order_id))
        must(found.order.status != order_pb2.ORDER_STATUS_REJECTED, f"the order is taken ({found.order.status_text})")
        return found.order.status == order_pb2.ORDER_STATUS_FILLED

    async def policy(self) -> str:
        """Be denied while trading is halted, and by a limit, each with its reason and numbers."""
        await self._state(policy_pb2.TRADING_STATE_HALTED)
        halted = await self._denied(order("1"))
        must("TRADING_HALTED" in halted, f"the denial says TRADING_HALTED, was {halted}")
        await self._state(policy_pb2.TRADING_STATE_ACTIVE)
        limits = policy_pb2.PolicyLimits(max_order_quantity=decimal("2"))
        await self.quasar.policies.CreatePolicy(
            policy_pb.CreatePolicyRequest(
                policy=policy_pb2.Policy(
                    policy_id="job-limit",
                    scope=denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="job"),
                    limits=limits,
                    enabled=True,
                )
            )
        )
        limited = await self._denied(order("5"))
        must("MAX_ORDER_QUANTITY" in limited, f"the denial says MAX_ORDER_QUANTITY, was {limited}")
        listed = await self.quasar.policies.ListDenials(policy_pb.ListDenialsRequest())
        reasons = {denial.reason for record in listed.denials for denial in record.denials}
        must(
            reasons >= {denial_pb2.DENIAL_REASON_TRADING_HALTED, denial_pb2.DENIAL_REASON_MAX_ORDER_QUANTITY},
            "both denials are kept",
        )
        return "TRADING_HALTED and MAX_ORDER_QUANTITY, both kept with their numbers"

    async def _state(self, state: policy_pb2.TradingState.ValueType) -> None:
        platform = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_PLATFORM)
        await self.quasar.policies.SetTradingState(
            policy_pb.SetTradingStateRequest(scope=platform, state=state, reason="the main job")
        )

    async def _denied(self, request: trading_pb.PlaceOrderRequest) -> str:
        """Place an order that must be denied, and return the reasons that were given."""
        try:
            placed = (await self.quasar.trading.PlaceOrder(request)).order
        except errors.PolicyDenied as error:
            return f"{error.message} {dict(error.metadata)}"
        same(order_pb2.OrderStatus.Name(placed.status), "ORDER_STATUS_DENIED", "status of the order")
        return " ".join(denial_pb2.DenialReason.Name(denial.reason) for denial in placed.denials)

    async def _bars(self, key: values_pb2.SeriesKey) -> BarColumns:
        return await self.quasar.bars_and_ticks.bars(f"{key.provider}:{key.symbol}@{key.interval}")

    async def _until(self, holds: Callable[[], Awaitable[bool]], within_s: float, words: str) -> None:
        ends = self.quasar.clock.monotonic() + within_s
        while not await holds():
            must(self.quasar.clock.monotonic() < ends, f"{words} within {within_s:g} s")
            await self.quasar.clock.sleep(0.25)


STEPS: Sequence[tuple[str, Callable[[Job], Awaitable[str]]]] = (
    ("configure", Job.configure),
    ("sync assets", Job.sync),
    ("subscribe", Job.subscribe),
    ("backfill", Job.backfill),
    ("live, cut, resume", Job.live),
    ("bars from ticks", Job.bars_from_ticks),
    ("grpc-web", Job.browser),
    ("upload", Job.upload),
    ("back-test", Job.backtest),
    ("paper", Job.paper),
    ("policy", Job.policy),
)
