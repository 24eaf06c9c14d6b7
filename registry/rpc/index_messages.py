"""Indices, members and syncs as messages of the contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from quasar.rpc.wellknown import duration, timestamp
from quasar_proto.registry.v1 import index_pb2
from quasar_proto.registry.v1 import index_service_pb2 as pb
from registry.indices.indices import IndexChange
from registry.indices.listing import SYNC_STATES, TYPES
from registry.indices.membership import ADDED, REMOVED, WEIGHT_CHANGED, MemberChange, MembershipDiff
from registry.indices.new_members import NewMember
from registry.indices.reading import Day, MemberPeriod
from registry.indices.schedules import FREQUENCIES, SyncSchedule
from registry.indices.syncs import IndexSynced
from registry.mappings.symbols import Membership
from registry.rpc.asset_messages import key_message
from registry.rpc.words import class_number, mask_paths
from registry.store.indices import Index


def index_message(index: Index) -> index_pb2.Index:
    """Return an index as a message."""
    schedule = index.schedule
    return index_pb2.Index(
        name=index.name,
        type=TYPES.index(index.type) + 1,  # type: ignore[arg-type]  # enum values travel as plain integers
        description=index.description,
        provider=index.provider,
        provider_active=index.provider_active,
        member_count=index.member_count,
        weight_sum=index.weight_sum,
        weighted_count=index.weighted_count,
        mapped_count=index.mapped_count,
        sync_schedule=_schedule_message(schedule) if schedule else None,
        own_schedule=index.of_provider and index.sync_frequency is not None,
        last_sync_time=timestamp(index.last_sync_at),
        last_sync_state=SYNC_STATES.index(index.last_sync_state),  # type: ignore[arg-type]  # enum values travel as plain integers
        last_sync_message=index.last_sync_message,
        next_sync_time=timestamp(index.next_sync_at) if index.provider_active else None,
        member_update_time=timestamp(index.members_changed_at),
        create_time=timestamp(index.created_at),
        update_time=timestamp(index.updated_at),
        etag=str(index.revision),
    )


def _schedule_message(schedule: SyncSchedule) -> index_pb2.SyncSchedule:
    return index_pb2.SyncSchedule(
        frequency=FREQUENCIES.index(schedule.frequency),  # type: ignore[arg-type]  # enum values travel as plain integers
        cron=schedule.cron,
        time_zone=schedule.time_zone,
    )


def change_of(request: pb.UpdateIndexRequest) -> IndexChange:
    """Return the change that a request asks for.

    Raises:
        InvalidArgument: The mask is empty or names another field.
    """
    paths = mask_paths(request.update_mask, ("name", "description", "sync_schedule"), "update_mask", empty=False)
    schedule = None
    if request.index.HasField("sync_schedule"):
        given = request.index.sync_schedule
        schedule = SyncSchedule(FREQUENCIES[given.frequency], given.cron, given.time_zone)
    return IndexChange(
        name=request.name,
        fields=paths,
        new_name=request.index.name,
        description=request.index.description,
        schedule=schedule,
        etag=request.index.etag,
    )


def new_members(members: Sequence[pb.NewIndexMember]) -> list[NewMember]:
    """Return the members that a request sets."""
    return [NewMember(each.common_symbol, each.weight if each.HasField("weight") else None) for each in members]


def member_message(index: str, member: MemberPeriod) -> index_pb2.IndexMember:
    """Return a period of membership as a message."""
    return index_pb2.IndexMember(
        index=index,
        common_symbol=member.common_symbol,
        asset=key_message(member.source_kind, member.source_name, member.symbol) if member.symbol else None,
        name=member.name,
        asset_class=class_number(member.asset_class),
        weight=member.weight,
        valid_from=timestamp(member.valid_from),
        valid_to=timestamp(member.valid_to),
    )


def membership_message(common_symbol: str, held: Membership) -> index_pb2.IndexMember:
    """Return that an index holds a common symbol now as a message."""
    row = held.row
    asset = key_message(row["source_kind"], row["source_name"], row["asset_symbol"]) if row["asset_symbol"] else None
    return index_pb2.IndexMember(
        index=held.index,
        common_symbol=common_symbol,
        asset=asset,
        name=row["name"],
        asset_class=class_number(row["asset_class"]),
        weight=held.weight,
        valid_from=timestamp(row["valid_from"]),
    )


def change_message(change: MemberChange) -> index_pb2.MemberChange:
    """Return what happened to a member as a message."""
    return index_pb2.MemberChange(
        change=index_pb2.MembershipChange.Value(f"MEMBERSHIP_CHANGE_{change.change}"),
        symbol=change.symbol,
        common_symbol=change.common_symbol,
        weight_before=change.weight_before,
        weight_after=change.weight_after,
        time=timestamp(change.time),
    )


def diff_message(diff: MembershipDiff) -> index_pb2.MembershipDiff:
    """Return a difference as a message."""
    return index_pb2.MembershipDiff(
        changes=[change_message(each) for each in diff.changes],
        added=diff.count(ADDED),
        removed=diff.count(REMOVED),
        weight_changed=diff.count(WEIGHT_CHANGED),
        unchanged=diff.unchanged,
        periods_opened=len(diff.opened),
        periods_closed=len(diff.closed),
    )


def sync_message(synced: IndexSynced) -> index_pb2.SyncIndexResult:
    """Return what a sync did as a message."""
    return index_pb2.SyncIndexResult(
        index=synced.index,
        state=SYNC_STATES.index(synced.state),  # type: ignore[arg-type]  # enum values travel as plain integers
        diff=diff_message(synced.diff),
        received=synced.received,
        rejections=[
            index_pb2.RejectedConstituent(symbol=each.symbol, position=each.position, message=each.message)
            for each in synced.rejections
        ],
        assets_added=synced.assets.added,
        assets_updated=synced.assets.updated,
        unknown_classes=synced.unknown_classes,
        message=synced.message,
        elapsed=duration(synced.elapsed_s),
    )


def day_message(day: Day) -> index_pb2.TimelineDay:
    """Return the changes of a day as a message."""
    kinds = [change.change for change in day.changes]
    return index_pb2.TimelineDay(
        date=timestamp(dt.datetime(day.date.year, day.date.month, day.date.day, tzinfo=dt.UTC)),
        changes=[change_message(each) for each in day.changes],
        added=kinds.count(ADDED),
        removed=kinds.count(REMOVED),
        weight_changed=kinds.count(WEIGHT_CHANGED),
        member_count=day.member_count,
    )
