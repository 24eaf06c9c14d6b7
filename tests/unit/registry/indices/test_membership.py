from __future__ import annotations

import datetime as dt

import pytest

from quasar.errors import InvalidArgument
from registry.indices.membership import Member, MembershipDiff, difference, holds_back, same_weight, weight_problem
from registry.indices.schedules import SyncSchedule, next_sync, preferred

NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


def members(**weights: float | None) -> dict[int, Member]:
    return {
        ord(name[0]) * 1000 + ord(name[-1]): Member(
            key=ord(name[0]) * 1000 + ord(name[-1]), symbol=name, common_symbol=name, weight=weight
        )
        for name, weight in weights.items()
    }


def diff(current: dict[int, Member], wanted: dict[int, Member]) -> MembershipDiff:
    return difference(current, wanted, NOON)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (None, None, True),
        (None, 0.5, False),
        (0.25, 0.25 + 1e-10, True),
        (0.25, 0.25 + 1e-8, False),
        (0.5, None, False),
    ],
)
def test_weights_are_compared_to_a_billionth(first: float | None, second: float | None, same: bool) -> None:
    assert same_weight(first, second) is same


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    assert "must be finite and greater than 0" in str(weight_problem(weight))


def test_an_unchanged_save_has_no_difference() -> None:
    found = diff(members(BTC=0.6, ETH=None), members(BTC=0.6 + 1e-12, ETH=None))
    assert (found.changes, found.opened, found.closed, found.unchanged) == ([], [], [], 2)


def test_other_weights_end_periods_and_begin_others() -> None:
    found = diff(members(BTC=0.6, ETH=0.4), members(BTC=0.61, ETH=0.39))
    assert [each.change for each in found.changes] == ["WEIGHT_CHANGED"] * 2
    assert (len(found.opened), len(found.closed), found.unchanged) == (2, 2, 0)


def test_removals_come_before_additions_and_each_by_symbol() -> None:
    found = diff(members(BB=1, AA=1, KEPT=1), members(KEPT=2, ZZ=1, YY=1))
    assert [(each.change, each.symbol) for each in found.changes] == [
        ("REMOVED", "AA"),
        ("REMOVED", "BB"),
        ("ADDED", "YY"),
        ("ADDED", "ZZ"),
        ("WEIGHT_CHANGED", "KEPT"),
    ]


@pytest.mark.parametrize(("had", "kept", "held"), [(10, 4, True), (10, 5, False), (9, 1, False), (30, 14, True)])
def test_an_answer_that_removes_more_than_half_of_ten_is_held_back(had: int, kept: int, held: bool) -> None:
    current = {key: Member(key=key, symbol=str(key)) for key in range(had)}
    wanted = {key: member for key, member in current.items() if key < kept}
    assert holds_back(had, diff(current, wanted)) is held


@pytest.mark.parametrize(
    ("frequency", "due"),
    [
        ("DAILY", dt.datetime(2026, 1, 6, tzinfo=dt.UTC)),
        ("WEEKLY", dt.datetime(2026, 1, 12, tzinfo=dt.UTC)),
        ("MONTHLY", dt.datetime(2026, 2, 1, tzinfo=dt.UTC)),
        ("MANUAL", None),
    ],
)
def test_a_week_begins_on_monday(frequency: str, due: dt.datetime | None) -> None:
    assert next_sync(SyncSchedule(frequency), NOON, NOON, failed=False) == due


def test_an_index_that_was_never_synced_is_due_and_a_failed_one_is_tried_again_within_the_hour() -> None:
    weekly = SyncSchedule("WEEKLY")
    assert next_sync(weekly, None, NOON, failed=False) == NOON
    assert next_sync(weekly, NOON, NOON, failed=True) == NOON + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("word", "frequency"), [("1d", "DAILY"), ("1w", "WEEKLY"), ("1M", "MONTHLY"), (None, "WEEKLY")]
)
def test_the_providers_preference_says_how_often(word: str | None, frequency: str) -> None:
    assert preferred({"scheduling": {"sync_frequency": word}}).frequency == frequency
    assert preferred({}).frequency == "WEEKLY"


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (SyncSchedule("CRON", ""), "cron"),
        (SyncSchedule("CRON", "not a cron"), "cron"),
        (SyncSchedule("DAILY", "0 0 * * *"), "cron"),
        (SyncSchedule("DAILY", "", "Mars/Olympus"), "time_zone"),
        (SyncSchedule(""), "frequency"),
    ],
)
def test_a_schedule_that_cannot_be_read_names_its_field(schedule: SyncSchedule, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        schedule.checked()
    assert raised.value.violations[0].field == f"index.sync_schedule.{field}"
