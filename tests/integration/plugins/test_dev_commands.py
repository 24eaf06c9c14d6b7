"""`quasar dev`: a newcomer gets from nothing to bars on the screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quasar.cli.dev import dev


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    return None


def quasar_dev(*words: str) -> Result:
    return CliRunner().invoke(dev, words, catch_exceptions=False)


@pytest.mark.usefixtures("run")
def test_a_new_provider_passes_its_check_and_shows_its_bars() -> None:
    assert quasar_dev("new", "provider", "demo").exit_code == 0
    checked = quasar_dev("check", "demo.py")
    assert checked.exit_code == 0
    assert "provider demo: passed" in checked.output
    shown = quasar_dev("bars", "demo.py", "DEMO", "--start", "2026-01-01", "--end", "2026-02-01", "--json")
    rows = json.loads(shown.stdout)
    assert [row["close"] for row in rows] == [101.0, 102.0, 100.5, 102.75, 103.5]
    assert "DEMO" in quasar_dev("symbols", "demo.py").output


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("kind", ["strategy", "broker"])
def test_every_other_template_passes_its_check(kind: str) -> None:
    quasar_dev("new", kind, "my_own")
    checked = quasar_dev("check", "my_own.py")
    assert (checked.exit_code, f"{kind} my_own: passed" in checked.output) == (0, True)


@pytest.mark.usefixtures("run")
def test_code_that_is_refused_ends_with_1_and_says_why() -> None:
    Path("bad.py").write_text("import socket\nsocket.create_connection(('x', 1))\n")
    checked = quasar_dev("check", "bad.py")
    assert checked.exit_code == 1
    assert "bad.py:2:1: error import-side-effect" in checked.output
    assert "remedy: move it into a method" in checked.output


@pytest.mark.usefixtures("run")
def test_nothing_is_overwritten() -> None:
    Path("demo.py").write_text("mine")
    assert "choose another name" in quasar_dev("new", "provider", "demo").output
    assert Path("demo.py").read_text() == "mine"
