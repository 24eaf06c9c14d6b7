"""What a supervisor wrote is read again, and only its own processes are taken for its own."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from quasar.supervisor.state import ProcessRecord, UpState, end_leftovers, read_state


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def state_with(*records: ProcessRecord) -> UpState:
    start = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    return UpState(ProcessRecord("quasar", 1, 1.0), "0.1.0", start, embedded=True, processes=records)


def record_of(process: subprocess.Popen[bytes], name: str = "registry") -> ProcessRecord:
    record = ProcessRecord.of(name, process.pid, "127.0.0.1:8080", 2)
    assert record is not None
    return record


def test_a_state_is_read_as_it_was_written(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    state = state_with(record_of(process))
    state.write(tmp_path / "up.json")
    assert read_state(tmp_path / "up.json") == state


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"supervisor": 1}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    assert read_state(tmp_path / "up.json") is None
    assert end_leftovers(tmp_path / "up.json") == []


def test_what_a_killed_supervisor_left_is_ended(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    state_with(record_of(process)).write(tmp_path / "up.json")
    assert end_leftovers(tmp_path / "up.json") == ["registry"]
    process.wait(timeout=10)
    assert ProcessRecord.of("registry", process.pid) is None


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    earlier = replace(record_of(process), create_time=record_of(process).create_time - 3600)
    state_with(earlier).write(tmp_path / "up.json")
    assert end_leftovers(tmp_path / "up.json") == []
    assert process.poll() is None


def test_the_database_is_left_to_be_taken_over(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    state_with(record_of(process, "database")).write(tmp_path / "up.json")
    assert end_leftovers(tmp_path / "up.json") == []
    assert process.poll() is None


def test_a_process_that_has_ended_has_no_record(process: subprocess.Popen[bytes]) -> None:
    record = record_of(process)
    process.kill()
    process.wait()
    assert record.process() is None
    assert ProcessRecord.of("registry", process.pid) is None
