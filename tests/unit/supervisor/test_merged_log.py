"""The merged log: whose line it is, colours only where they are understood, and a reader who leaves harms nothing."""

from __future__ import annotations

import io
import os
from pathlib import Path

from quasar.supervisor.merged_log import MergedLog

NAMES = ("quasar", "registry")


def test_each_line_has_its_process_in_front() -> None:
    out = io.StringIO()
    log = MergedLog(out, NAMES, colours=False)
    log.line("quasar", "up")
    log.line("registry", "\x1b[31mserving\x1b[0m\n")
    assert out.getvalue() == "quasar   │ up\nregistry │ serving\n"


def test_colours_tell_the_processes_apart() -> None:
    out = io.StringIO()
    log = MergedLog(out, NAMES, colours=True)
    log.line("quasar", "up")
    log.line("registry", "\x1b[31mserving\x1b[0m")
    first, second = out.getvalue().splitlines()
    assert first.startswith("\x1b[36mquasar")
    assert second.startswith("\x1b[32mregistry")
    assert second.endswith("\x1b[31mserving\x1b[0m")


def test_the_file_has_the_lines_without_colours(tmp_path: Path) -> None:
    log = MergedLog(io.StringIO(), NAMES, colours=True)
    close = log.open_file(tmp_path / "logs" / "quasar.log")
    log.line("registry", "\x1b[31mserving\x1b[0m")
    close()
    assert (tmp_path / "logs" / "quasar.log").read_text() == "registry | serving\n"


def test_a_reader_who_leaves_does_not_end_the_platform(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1) as pipe:  # noqa: PTH123  # a descriptor
        log = MergedLog(pipe, NAMES, colours=False)
        close = log.open_file(tmp_path / "quasar.log")
        log.line("registry", "one")
        log.line("registry", "two")
        close()
    assert (tmp_path / "quasar.log").read_text() == "registry | one\nregistry | two\n"
