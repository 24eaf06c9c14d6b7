"""Which statements leave something in a session, and how values become JSON."""

from __future__ import annotations

import datetime as dt
import errno
import socket
import uuid
from decimal import Decimal

import pytest

from quasar.database.pool import _reason, changes_session, encode_json


@pytest.mark.parametrize(
    "query",
    [
        "set work_mem = '1GB'",
        "SET SESSION statement_timeout = 0",
        "  -- a remark\n  set role postgres",
        "/* a remark */ set role postgres",
        "select 1; set search_path = public",
        "listen quasar_events",
        'LISTEN "quasar_events"',
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock_shared($1)",
        "select set_config('work_mem', '1GB', false)",
        "declare everything cursor with hold for select 1",
        "load 'auto_explain'",
    ],
)
def test_statements_that_change_the_session_are_recognised(query: str) -> None:
    assert changes_session(query)


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "update assets set name = $1 where asset_id = $2",
        "insert into t values (1) on conflict (id) do update set n = 1",
        "set local statement_timeout = 0",
        "set transaction isolation level serializable",
        "set constraints all deferred",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_xact_lock(1)",
        "declare some cursor for select 1",
        "create temp table staging (like bars)",
        "select listeners from offset_table",
    ],
)
def test_other_statements_cost_no_reset(query: str) -> None:
    assert not changes_session(query)


def test_exact_numbers_times_and_ids_become_text() -> None:
    identity = uuid.UUID(int=7)
    value = {
        "price": Decimal("1.10"),
        "time": dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC),
        "day": dt.date(2026, 1, 5),
        "id": identity,
    }
    assert encode_json(value) == (
        '{"price":"1.10","time":"2026-01-05T12:00:00+00:00","day":"2026-01-05","id":"' + str(identity) + '"}'
    )


def test_text_of_every_language_stays_readable() -> None:
    assert encode_json(["Zürich", "東京"]) == '["Zürich","東京"]'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_json({"close": value})


def test_values_without_a_json_form_are_refused_by_their_type() -> None:
    with pytest.raises(TypeError, match="was set"):
        encode_json({"names": {"a"}})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.7', 5432)"), "Connection refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432)"), "OSError"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_why_a_database_does_not_answer_is_told_without_its_address(error: OSError, told: str) -> None:
    assert _reason(error) == told
