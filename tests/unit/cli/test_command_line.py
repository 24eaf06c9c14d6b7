"""The command line: good help, errors in one sentence on standard error, exit codes, and a quick start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quasar.cli.__main__ import main
from quasar.ops.identity import platform_version


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUASAR_HOME", str(tmp_path / "home"))


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for command in (
        "up",
        "down",
        "status",
        "token",
        "db",
        "secrets",
        "registry",
        "datahub",
        "strategy-engine",
        "gateway",
        "version",
    ):
        assert f"\n  {command} " in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["up"],
        ["down"],
        ["status"],
        ["version"],
        ["token", "create"],
        ["token", "list"],
        ["token", "revoke"],
        ["db", "status"],
        ["db", "migrate"],
        ["db", "url"],
        ["secrets", "rotate"],
        ["registry"],
        ["datahub"],
        ["strategy-engine"],
        ["gateway"],
    ],
    ids=" ".join,
)
def test_each_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "-h"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: quasar {' '.join(arguments)}")
    assert len(told.splitlines()) >= 6


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"quasar {platform_version()}\n"
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": platform_version()}


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert "No such command 'dance'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--only", "registry,oracle"], "must be some of registry, datahub, strategy, gateway, was 'oracle'"),
        (["token", "create", "not a name"], "must have 1 to 64 letters, digits, '.', '_' or '-', was 'not a name'"),
        (
            ["token", "create", "ci", "--lifetime", "soon"],
            "must be a number and s, m, h, d or w, such as 90d, was 'soon'",
        ),
        (["token", "create", "ci", "--lifetime", "0d"], "must be a number and s, m, h, d or w"),
        (["token", "create", "ci", "--lifetime", "99999999999w"], "must be at most 5000 years"),
        (["token", "create", "ci", "--role", "king"], "'king' is not one of"),
        (["upload", "provider", __file__, "--secrets-file", sys.executable], "must be UTF-8 text, was not"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_where_nothing_runs_the_status_says_so_and_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 1
    assert "start it with `quasar up`" in capsys.readouterr().out
    assert main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert main(["down"]) == 0
    assert "Nothing runs on" in capsys.readouterr().out


def test_the_address_of_a_database_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "url"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: QUASAR_DATABASE_URL must be set, or `quasar up` must run on ")


def test_the_command_line_loads_no_more_than_it_needs() -> None:
    heavy = ("grpc", "asyncpg", "cryptography", "numpy", "structlog", "textual", "pandas", "pyarrow")
    code = f"import sys, quasar.cli.__main__; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
