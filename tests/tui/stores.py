"""Stores as the console has them in ordinary and in bad times."""

from __future__ import annotations

import datetime as dt

from quasar_client.common import v1 as common
from quasar_client.datahub import v1 as datahub
from quasar_client.ops import v1 as ops
from quasar_client.registry import v1 as registry
from quasar_client.strategy import v1 as strategy
from tui.store import Store

NOW = dt.datetime(2026, 3, 2, 12, 0, 0, tzinfo=dt.UTC)


def at(**ago: float) -> dt.datetime:
    return NOW - dt.timedelta(**ago)


def price(
    symbol: str, last: float, change: float, state: datahub.FeedState, book: tuple[float, float] | None = None
) -> datahub.Price:
    info = datahub.SeriesInfo(series_id=1, key=common.SeriesKey(provider="simulated", symbol=symbol), price_decimals=1)
    return datahub.Price(
        series=info,
        last=last,
        change_ratio=change,
        session_high=last * 1.01,
        session_low=last * 0.99,
        session_vwap=last,
        session_trades=1234,
        last_time=at(seconds=2),
        feed_state=state,
        bid=book[0] if book else None,
        ask=book[1] if book else None,
    )


def busy() -> Store:
    """Return a store of a platform at work, with a few things that need a look."""
    store = Store()
    for number, service in enumerate(("registry", "datahub", "strategy")):
        part = ops.PartHealth(name="database", state=ops.PartState.SERVING)
        store.systems[service] = ops.SystemInfo(
            service=service, version="0.1.0", state=ops.PartState.SERVING, start_time=at(hours=5), parts=[part]
        )
        for step in range(20):
            store.put_metrics(
                service,
                ops.SystemMetrics(
                    memory_bytes=90_000_000 + number,
                    cpu_share=0.03,
                    calls_per_second=step % 7,
                    latency_p50_seconds=0.002,
                ),
            )
    store.codes["kraken"] = registry.Code(
        ref=common.CodeRef(kind=common.CodeKind.PROVIDER, name="kraken"), built_in=True
    )
    store.providers["kraken"] = datahub.Provider(
        name="kraken",
        state=datahub.ProviderState.BACKING_OFF,
        detail="the vendor closed the connection",
        last_row_time=at(minutes=3),
        feeds=[datahub.Feed(feed_id="kraken", state=datahub.FeedState.RECONNECTING)],
    )
    store.subscriptions["s-1"] = registry.Subscription(
        subscription_id="s-1",
        provider="simulated",
        selector=registry.Selector(symbol="BTC/USD"),
        interval="1min",
        historical=True,
        live=True,
        status=registry.SubscriptionStatus(
            health=registry.SubscriptionHealth.CURRENT, last_bar_time=at(seconds=40), bar_count=10_080
        ),
    )
    store.runs["r-1"] = datahub.Run(
        run_id="r-1",
        state=datahub.RunState.FAILED,
        provider="kraken",
        series=datahub.SeriesInfo(key=common.SeriesKey(provider="kraken", symbol="ETH/USD", interval="1d")),
        trigger=datahub.RunTrigger.SCHEDULE,
        create_time=at(minutes=9),
        start_time=at(minutes=9),
        end_time=at(minutes=8),
        attempt_count=5,
        counts=datahub.RunCounts(inserted=12),
    )
    for step in range(30):
        book = (63_999.5 + step, 64_000.8 + step)
        store.put_price("simulated:BTC/USD", price("BTC/USD", 64_000 + step, 0.012, datahub.FeedState.LIVE, book))
    store.put_price("simulated:NOVA", price("NOVA", 41.2, -0.004, datahub.FeedState.STALE))
    store.instances["sma"] = strategy.Instance(
        instance_id="sma",
        display_name="SMA on BTC",
        strategy="sma_cross",
        code_version=2,
        mode=strategy.TradingMode.PAPER,
        state=strategy.InstanceState.RUNNING,
    )
    store.orders["o-1"] = strategy.Order(
        client_order_id="o-1",
        account_id="paper",
        status=strategy.OrderStatus.FILLED,
        create_time=at(minutes=1),
        spec=strategy.OrderSpec(
            symbol="BTC/USD",
            side=strategy.OrderSide.BUY,
            type=strategy.OrderType.MARKET,
            quantity=common.Decimal(value="0.5"),
        ),
    )
    store.events.append(
        ops.Event(
            event_id=7,
            time=at(minutes=8),
            severity=ops.Severity.ERROR,
            kind="RunFailed",
            subject_type="run",
            message="gave up",
        )
    )
    for name in ("registry state", "prices"):
        link = store.link(name)
        link.state, link.last = "live", NOW
    store.changed(
        "systems", "codes", "subscriptions", "runs", "prices", "gaps", "instances", "orders", "events", "logs"
    )
    return store
