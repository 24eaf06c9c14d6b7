from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from datahub.bus import journal as journals
from datahub.bus.journal import Journal
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor, Entry, LiveLog
from datahub.stream.topic import Content, Topic
from quasar import errors
from quasar.testing.clock import FakeClock

BTC = Topic(7, Content.TRADES)
NOW = 1_800_000_000_000_000_000
LIVES = itertools.count()


class Life:
    """One life of a DataHub over a journal."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.journal = Journal(folder, NOW + next(LIVES) * 1_000_000_000, **options)
        log = LiveLog(self.journal.epoch, position=self.journal.start, lost=self.journal.lost)
        self.hub = Hub(log, FakeClock(), self.journal)
        self.hub.restore(self.journal.entries, self.journal.kept)

    def publish(self, *numbers: int) -> None:
        """Publish numbers in one flush."""
        for number in numbers:
            self.hub.publish(BTC, number.to_bytes(4, "big"), 1)
        self.hub.settle()

    def killed(self) -> None:
        """End without a farewell: the operating system closes the files."""
        self.journal._put_header = lambda *, clean: None  # type: ignore[method-assign]
        self.journal.close()

    def after(self, cursor: Cursor) -> list[int]:
        """Return the numbers that follow a cursor."""
        payload = b"".join(portion.payload for portion in self.hub.replay(frozenset({BTC}), cursor))
        return [int.from_bytes(payload[at : at + 4], "big") for at in range(0, len(payload), 4)]


def test_a_cursor_goes_on_right_where_it_was_after_the_process_was_killed(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.publish(1, 2, 3)
    cursor = first.hub.log.head
    first.publish(4)
    first.publish(5, 6)
    first.killed()
    second = Life(tmp_path)
    second.publish(7)
    assert second.after(cursor) == [4, 5, 6, 7]
    assert second.hub.log.epoch == cursor.epoch
    assert second.after(second.hub.log.earliest) == [1, 2, 3, 4, 5, 6, 7]


def test_the_last_entry_is_the_snapshot_of_the_next_life(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.publish(1, 2)
    first.killed()
    (portion,) = Life(tmp_path).hub.snapshot(frozenset({BTC}))
    assert portion.payload == (2).to_bytes(4, "big")


@pytest.mark.parametrize("lost", [1, 5, 17])
def test_a_record_that_was_cut_reached_nobody_and_is_left_out(tmp_path: Path, lost: int) -> None:
    first = Life(tmp_path)
    first.publish(1)
    cursor = first.hub.log.head
    first.publish(2)
    first.killed()
    (file,) = tmp_path.glob("*.log")
    file.write_bytes(file.read_bytes()[:-lost])
    second = Life(tmp_path)
    assert second.after(cursor) == []
    second.publish(3)
    second.killed()
    assert Life(tmp_path).after(cursor) == [3]


def test_a_byte_that_changed_on_the_disk_ends_what_is_taken(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.publish(1)
    first.publish(2)
    first.killed()
    (file,) = tmp_path.glob("*.log")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    second = Life(tmp_path)
    assert second.after(second.hub.log.earliest) == [1]


def test_after_a_crash_of_the_machine_a_former_cursor_has_expired_and_the_answer_names_the_earliest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Life(tmp_path)
    first.publish(1)
    cursor = first.hub.log.head
    first.killed()
    monkeypatch.setattr(journals, "_boot_id", lambda: "another run of the machine")
    second = Life(tmp_path)
    with pytest.raises(errors.CursorExpired) as expired:
        second.after(cursor)
    assert expired.value.metadata["earliest_cursor"] == str(second.hub.log.earliest)
    assert second.hub.log.epoch > cursor.epoch


def test_a_clean_stop_survives_a_restart_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Life(tmp_path)
    cursor = first.hub.log.head
    first.publish(1)
    first.journal.close()
    monkeypatch.setattr(journals, "_boot_id", lambda: "another run of the machine")
    assert Life(tmp_path).after(cursor) == [1]


def test_the_oldest_files_go_when_there_is_too_much(tmp_path: Path) -> None:
    life = Life(tmp_path, max_bytes=2_000, segment_bytes=500)
    for number in range(200):
        life.publish(number)
    life.killed()
    size = sum(file.stat().st_size for file in tmp_path.glob("*.log"))
    assert 2_000 <= size <= 3_500
    second = Life(tmp_path)
    kept = second.after(second.hub.log.earliest)
    assert kept == list(range(kept[0], 200))
    with pytest.raises(errors.CursorExpired):
        second.after(Cursor(second.hub.log.epoch, 0))


def test_one_folder_has_one_journal(tmp_path: Path) -> None:
    life = Life(tmp_path)
    with pytest.raises(BlockingIOError):
        Journal(tmp_path, NOW)
    life.journal.close()
    Journal(tmp_path, NOW).close()


def test_a_disk_that_takes_nothing_more_ends_the_journal_and_not_the_stream(tmp_path: Path) -> None:
    full = False

    def write(file: int, data: memoryview) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return os.write(file, data)

    life = Life(tmp_path, write=write)
    life.publish(1)
    cursor = life.hub.log.head
    full = True
    life.publish(2)
    full = False
    life.publish(3)
    assert life.after(cursor) == [2, 3]
    life.killed()
    with pytest.raises(errors.CursorExpired):
        Life(tmp_path).after(cursor)


def test_a_header_that_cannot_be_read_begins_an_epoch(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.publish(1)
    first.killed()
    (tmp_path / "epoch.json").write_text(json.dumps({"epoch": "x"}), encoding="utf-8")
    second = Life(tmp_path)
    assert second.after(second.hub.log.earliest) == []


def test_a_cursor_of_what_a_killed_process_gave_out_and_did_not_keep_is_never_taken_for_one_of_the_next_life(
    tmp_path: Path,
) -> None:
    first = Life(tmp_path)
    first.publish(1)
    kept = first.hub.log.head
    first.killed()
    lost = [Cursor(kept.epoch, kept.position + more) for more in (1, 2, 1_000_000)]
    second = Life(tmp_path)
    begin = second.hub.log.head
    second.killed()
    third = Life(tmp_path)
    third.publish(3)
    assert third.after(kept) == third.after(begin) == [3]
    for cursor in lost:
        with pytest.raises(errors.CursorExpired):
            third.after(cursor)
    third.journal.close()
    fourth = Life(tmp_path)
    assert fourth.after(kept) == [3]
    with pytest.raises(errors.CursorExpired):
        fourth.after(lost[0])


def test_entries_that_do_not_follow_begin_the_journal_anew(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.publish(1, 2, 3)
    cursor = first.hub.log.head
    first.journal.keep([Entry(cursor.position + 5, BTC, (8).to_bytes(4, "big"), 1, NOW)])
    first.killed()
    second = Life(tmp_path)
    assert second.after(second.hub.log.earliest) == [8]
    with pytest.raises(errors.CursorExpired):
        second.after(cursor)
