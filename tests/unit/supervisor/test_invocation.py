"""What people are told to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from quasar.supervisor.invocation import command


def program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    made = folder / "quasar"
    made.write_text("#!/bin/sh\n", encoding="utf-8")
    made.chmod(0o755)
    return made


def test_a_program_that_the_shell_finds_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(made.parent))
    assert command(str(made)) == "quasar"


def test_one_of_a_fresh_clone_is_called_by_its_path_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(tmp_path / ".venv" / "bin")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert command(str(made)) == ".venv/bin/quasar"
    monkeypatch.chdir(made.parent)
    assert command(str(made)) == "./quasar"


def test_a_module_is_called_by_the_name_of_the_program() -> None:
    assert command("/somewhere/quasar/cli/__main__.py") == "quasar"
