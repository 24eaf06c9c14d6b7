"""A home is made for its owner only; what makes it useless is said before anything starts."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from quasar.config import GATEWAY, REGISTRY, Home, Settings
from quasar.errors import StartupError
from quasar.supervisor.preparation import LEAST_FREE_BYTES, DiskWatch, port_wishes, prepare_home, unwritable


def test_a_new_home_is_for_its_owner_only_and_empty(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home")
    prepare_home(home)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert list(home.path.iterdir()) == []


def test_a_full_disk_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="must have 256 MiB free, had 255 MiB; free some space") as caught:
        prepare_home(Home(tmp_path), free_bytes=lambda _path: LEAST_FREE_BYTES - 1)
    assert str(tmp_path) in caught.value.message
    prepare_home(Home(tmp_path), free_bytes=lambda _path: LEAST_FREE_BYTES)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="is in the way"):
        prepare_home(Home(tmp_path / "file" / "home"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full; free some space"),
        (errno.EDQUOT, "is full; free some space"),
        (errno.EACCES, "must be writable by the user who runs Quasar"),
        (errno.EROFS, "must be writable by the user who runs Quasar"),
        (errno.EIO, "cannot be used"),
    ],
)
def test_what_the_file_system_says_becomes_a_sentence_with_a_remedy(number: int, words: str) -> None:
    error = unwritable(OSError(number, "no", "/home/x/.quasar/db"), Path("/home/x/.quasar"))
    assert words in error.message
    assert "QUASAR_HOME" in error.message


def test_the_ports_of_metrics_are_wished_for_too() -> None:
    variables = {"QUASAR_METRICS_PORT": "9100"}
    parts = {part: Settings.read(part, variables) for part in (REGISTRY, GATEWAY)}
    assert [(each.part, each.port) for each in port_wishes(parts)] == [
        ("registry", 8080),
        ("gateway", 8000),
        ("registry's metrics", 9100),
    ]


def test_a_disk_that_fills_up_is_told_once_and_once_that_it_has_room(tmp_path: Path) -> None:
    free = iter([LEAST_FREE_BYTES, LEAST_FREE_BYTES - 1, 0, LEAST_FREE_BYTES, LEAST_FREE_BYTES])
    watch = DiskWatch(tmp_path, lambda _path: next(free))
    assert watch.look() == ""
    assert watch.look().startswith(f"the disk of {tmp_path} has 255 MiB free: free some space")
    assert watch.look() == ""
    assert watch.look() == f"the disk of {tmp_path} has room again"
    assert watch.look() == ""
