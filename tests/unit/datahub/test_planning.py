"""What is due of a series, and when a failed attempt is repeated."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from datahub.collection.collector import retry_delay
from datahub.collection.planner import due_span
from datahub.collection.runs import Failure, private_id, public_id
from datahub.series.series import Series, SeriesName
from quasar.errors import NotFound
from quasar.model.instants import to_ns
from tests.integration.datahub.registry_rows import entry


def series(interval: str = "1d", exchange: str = "XNYS") -> Series:
    return Series(series_id=1, name=SeriesName("vendor", "A", interval), exchange=exchange)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("interval", "now", "known", "wanted"),
    [
        ("1d", "2026-01-05 00:00", "2026-01-04", ("2026-01-04", "2026-01-05")),
        ("1d", "2026-01-05 23:59", "2026-01-05", None),
        ("1h", "2026-01-05 23:30", "2026-01-05 22:00", ("2026-01-05 22:00", "2026-01-05 23:00")),
        ("1min", "2025-12-31 23:59:30", "2025-12-31 23:58", ("2025-12-31 23:58", "2025-12-31 23:59")),
        ("1M", "2026-01-01 00:00", "2025-12-01", ("2025-12-01", "2026-01-01")),
        ("1w", "2026-01-05 00:00", "2025-12-29", ("2025-12-29", "2026-01-05")),
    ],
)
def test_slots_are_due_when_they_have_ended(
    interval: str, now: str, known: str, wanted: tuple[str, str] | None
) -> None:
    found = due_span(series(interval), entry(), at(known), None, at(now))
    assert (None if found is None else (found.start, found.end)) == (wanted and (at(wanted[0]), at(wanted[1])))


def test_a_new_series_reaches_back_as_far_as_is_wanted_and_the_vendor_goes() -> None:
    now = at("2026-01-05 12:00")
    wanted = due_span(series("1h"), entry(), None, at("2025-01-01"), now)
    short = entry(history_depths={"1h": dt.timedelta(days=30)})
    limited = due_span(series("1h"), short, None, at("2025-01-01"), now)
    starts = [span.start for span in (wanted, limited) if span is not None]
    assert starts == [at("2025-01-01"), now - dt.timedelta(days=30)]


def test_attempts_are_repeated_after_longer_and_longer_and_as_the_vendor_asks() -> None:
    failure = Failure("VENDOR_FAILED", "503")
    pauses = [retry_delay(attempt, failure, 0.0).total_seconds() for attempt in (1, 2, 3, 4)]
    assert pauses == sorted(pauses)
    patient = retry_delay(1, Failure("VENDOR_FAILED", "429", retry_after_s=120.0), 0.0)
    assert patient.total_seconds() == 120.0


def test_runs_are_named_by_uuids_in_the_order_in_which_they_were_made() -> None:
    names = [public_id(number) for number in (1, 2, 300, 2**40)]
    assert names == sorted(names)
    assert {uuid.UUID(name).version for name in names} == {8}
    assert private_id(names[2]) == 300


def test_a_uuid_that_names_no_run_is_not_found() -> None:
    with pytest.raises(NotFound):
        private_id(str(uuid.uuid4()))


@pytest.mark.parametrize("interval", ["1min", "4h", "1d", "1w", "1M"])
@pytest.mark.parametrize("exchange", ["", "XNYS"])
def test_expected_slots_are_counted_as_they_are_listed(interval: str, exchange: str) -> None:
    one = series(interval, exchange)
    for start, end in (
        ("2025-11-27 00:00:30", "2026-01-07 12:00"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-03", "2026-01-04"),
    ):
        bounds = to_ns(at(start)), to_ns(at(end))
        assert one.expected_between(*bounds) == len(one.calendar.expected_slots(one.interval, *bounds))
