"""Subscriptions as messages of the contract."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from quasar.model.asset_classes import AssetClass
from quasar.model.instants import to_ns
from quasar.model.ticks import TickKind
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import duration, instant, timestamp, timestamp_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.registry.v1 import subscription_pb2 as pb
from quasar_proto.registry.v1 import subscription_service_pb2 as service_pb
from registry.subscriptions.alteration import Named
from registry.subscriptions.plans import Wish
from registry.subscriptions.preview import Preview
from registry.subscriptions.selections import AssetCondition, Selection, SelectionKind
from registry.subscriptions.series import Series, SeriesPage
from registry.subscriptions.statuses import SeriesState, Status
from registry.subscriptions.subscriptions import State, Subscription
from registry.subscriptions.tick_kinds import number_of, word_of


def selection_of(message: pb.Selector) -> Selection:
    """Return the selection that a message holds."""
    kind = SelectionKind(str(message.WhichOneof("selection")))
    if kind is SelectionKind.ASSETS:
        return Selection(kind, assets=_condition_of(message.assets))
    if kind is SelectionKind.SYMBOLS:
        return Selection(kind, tuple(message.symbols.symbols))
    if kind is SelectionKind.COMMON_SYMBOLS:
        return Selection(kind, tuple(message.common_symbols.common_symbols))
    return Selection(kind, (getattr(message, str(kind)),))


def _condition_of(message: pb.AssetSelector) -> AssetCondition:
    classes = (values_pb2.AssetClass.Name(number) for number in message.asset_classes)
    return AssetCondition(
        asset_classes=tuple(name.removeprefix("ASSET_CLASS_").lower() for name in classes),
        exchanges=tuple(message.exchanges),
        quote_currencies=tuple(message.quote_currencies),
        filter=message.filter.strip(),
    )


def selector_message(selection: Selection) -> pb.Selector:
    """Return a selection as a message."""
    if selection.assets is not None:
        return pb.Selector(assets=_condition_message(selection.assets))
    names = selection.names
    if selection.kind is SelectionKind.SYMBOLS:
        return pb.Selector(symbols=pb.SymbolList(symbols=names))
    if selection.kind is SelectionKind.COMMON_SYMBOLS:
        return pb.Selector(common_symbols=pb.CommonSymbolList(common_symbols=names))
    message = pb.Selector()
    setattr(message, str(selection.kind), names[0])
    return message


def _condition_message(assets: AssetCondition) -> pb.AssetSelector:
    return pb.AssetSelector(
        asset_classes=[class_number(AssetClass(one)) for one in assets.asset_classes],
        exchanges=assets.exchanges,
        quote_currencies=assets.quote_currencies,
        filter=assets.filter,
    )


def class_number(asset_class: AssetClass | None) -> values_pb2.AssetClass.ValueType:
    """Return the number of a class; None: not known."""
    if asset_class is None:
        return values_pb2.ASSET_CLASS_UNSPECIFIED
    return values_pb2.AssetClass.Value(f"ASSET_CLASS_{asset_class.name}")


def wish_of(message: pb.NewSubscription) -> Wish:
    """Return what somebody wants to subscribe to."""
    return Wish(
        provider=message.provider,
        selection=selection_of(message.selector),
        interval=message.interval,
        historical=message.historical,
        live=message.live,
        store_ticks=message.store_ticks,
        tick_kinds=TickKind.in_order(word_of(kind) for kind in message.tick_kinds),
        cron=message.cron.strip(),
        time_zone=message.time_zone,
        backfill_start=instant(message.backfill_start) if message.HasField("backfill_start") else None,
        note=message.note,
        paused=message.paused,
    )


def values_of(message: pb.Subscription) -> Wish:
    """Return the new values of an update; what is outside its mask has no meaning."""
    has_selector = message.selector.WhichOneof("selection") is not None
    return Wish(
        provider=message.provider,
        selection=selection_of(message.selector) if has_selector else Selection(SelectionKind.SYMBOLS),
        interval=message.interval,
        historical=message.historical,
        live=message.live,
        store_ticks=message.store_ticks,
        tick_kinds=TickKind.in_order(word_of(kind) for kind in message.tick_kinds),
        cron=message.cron.strip(),
        time_zone=message.time_zone,
        backfill_start=instant(message.backfill_start) if message.HasField("backfill_start") else None,
        note=message.note,
    )


def named_of(message: service_pb.SubscriptionSet) -> Named:
    """Return which subscriptions a batch is about."""
    if message.WhichOneof("named") == "filter":
        return Named(filter=message.filter)
    return Named(ids=tuple(uuid.UUID(one) for one in message.ids.subscription_ids))


def subscription_message(one: Subscription, status: Status | None = None) -> pb.Subscription:
    """Return a subscription as a message."""
    wish = one.wish
    stored = one.subscription_id is not None
    paused = one.state is State.PAUSED
    return pb.Subscription(
        subscription_id=str(one.subscription_id) if stored else "",
        provider=wish.provider,
        selector=selector_message(wish.selection),
        interval=wish.interval,
        historical=wish.historical,
        live=wish.live,
        store_ticks=wish.store_ticks,
        tick_kinds=_kinds(wish.tick_kinds),
        cron=wish.cron,
        time_zone=wish.time_zone,
        backfill_start=timestamp(wish.backfill_start),
        note=wish.note,
        state=pb.SUBSCRIPTION_STATE_PAUSED if paused else pb.SUBSCRIPTION_STATE_ACTIVE,
        pause_reason=one.pause_reason,
        status=None if status is None else status_message(status),
        create_time=timestamp(one.create_time) if stored else None,
        update_time=timestamp(one.update_time) if stored else None,
        created_by=actor_message(one.created_by),
        etag=one.etag if stored else "",
    )


def status_message(status: Status) -> pb.SubscriptionStatus:
    """Return how a subscription is doing as a message."""
    return pb.SubscriptionStatus(
        health=int(status.health),  # type: ignore[arg-type]  # enum values travel as plain integers
        detail=status.detail,
        series_count=status.series_count,
        healths=[
            pb.HealthCount(health=int(health), count=count)  # type: ignore[arg-type]  # as above
            for health, count in status.healths.items()
        ],
        unresolved_count=status.unresolved_count,
        last_bar_time=timestamp(status.last_bar_time),
        oldest_last_bar_time=timestamp(status.oldest_last_bar_time),
        next_run_time=timestamp(status.next_run_time),
        last_run_time=timestamp(status.last_run_time),
        last_error=status.last_error,
        bar_count=status.bar_count,
        gap_count=status.gap_count,
        missing_bars=status.missing_bars,
        feed_state=status.feed_state,  # type: ignore[arg-type]  # as above
        last_tick_time=timestamp(status.last_tick_time),
        read_time=timestamp(status.read_time),
    )


def series_status_message(state: SeriesState, read_time: dt.datetime | None) -> pb.SubscriptionStatus:
    """Return how one series is doing as a message."""
    health = int(state.health)
    return pb.SubscriptionStatus(
        health=health,  # type: ignore[arg-type]  # enum values travel as plain integers
        detail=state.detail,
        series_count=1,
        healths=[pb.HealthCount(health=health, count=1)],  # type: ignore[arg-type]  # as above
        last_bar_time=timestamp(state.last_bar_time),
        oldest_last_bar_time=timestamp(state.last_bar_time),
        next_run_time=timestamp(state.next_run_time),
        last_run_time=timestamp(state.last_run_time),
        last_error=state.last_error,
        bar_count=state.bar_count,
        gap_count=state.gap_count,
        missing_bars=state.missing_bars,
        feed_state=state.feed_state,  # type: ignore[arg-type]  # as above
        last_tick_time=timestamp(state.last_tick_time),
        read_time=timestamp(read_time),
    )


def series_message(
    series: Series, state: SeriesState | None = None, read_time: dt.datetime | None = None
) -> pb.SubscribedSeries:
    """Return a series as a message."""
    return pb.SubscribedSeries(
        key=values_pb2.SeriesKey(provider=series.provider, symbol=series.symbol, interval=series.interval),
        common_symbol=series.common_symbol,
        exchange=series.exchange,
        asset_class=class_number(series.asset_class),
        subscription_ids=[str(one) for one in series.subscription_ids],
        active=series.active,
        historical=series.historical,
        live=series.live,
        store_ticks=series.store_ticks,
        tick_kinds=_kinds(series.tick_kinds),
        crons=[pb.CollectionCron(cron=cron, time_zone=zone) for cron, zone in series.crons],
        backfill_start=timestamp(series.backfill_start),
        unresolved=pb.UnresolvedCause.Value(f"UNRESOLVED_CAUSE_{series.unresolved or 'UNSPECIFIED'}"),
        unresolved_name=series.unresolved_name,
        status=None if state is None else series_status_message(state, read_time),
    )


def series_messages(page: SeriesPage) -> list[pb.SubscribedSeries]:
    """Return a page of series as messages."""
    return [series_message(one, page.states.get(one.name), page.read_time) for one in page.series]


def preview_message(preview: Preview) -> pb.SubscriptionPreview:
    """Return a preview as a message."""
    return pb.SubscriptionPreview(
        subscription=subscription_message(preview.subscription),
        series_count=preview.series_count,
        new_series_count=preview.new_series_count,
        series=_all(preview.series),
        unresolved=_all(preview.unresolved),
        unresolved_count=preview.subscription.unresolved_count,
        next_run_times=[timestamp_ns(to_ns(time)) for time in preview.next_run_times],
        estimated_bars=preview.backfill.bars,
        estimated_calls=preview.backfill.calls,
        estimated_duration=duration(_seconds(preview.backfill.duration)),
        warnings=preview.warnings,
        existing_subscription_id="" if preview.existing is None else str(preview.existing),
    )


def _kinds(words: Iterable[str]) -> list[market_data_pb2.TickKind.ValueType]:
    return [number_of(word) for word in words]  # type: ignore[misc]  # enum values travel as plain integers


def _all(series: Iterable[Series]) -> list[pb.SubscribedSeries]:
    return [series_message(one) for one in series]


def _seconds(span: dt.timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
