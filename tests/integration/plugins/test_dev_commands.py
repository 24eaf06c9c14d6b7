"""`quasar dev`: a newcomer gets from nothing to bars on the screen."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quasar.cli.dev import dev
from quasar.engine.backtest import run_backtest
from quasar.engine.commission import PercentCommission
from quasar.engine.rules import MarketRules
from quasar.engine.series import Series
from quasar.providers.files import read_bars


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
def test_what_code_prints_is_not_in_the_way_of_programs_that_read_the_answer() -> None:
    Path("loud.py").write_text(
        "from quasar.provider import Bar, Provider\n\nprint('loading')\n\n\nclass Loud(Provider):\n    name = 'loud'\n"
        "    intervals = ('1d',)\n    async def bars(self, request):\n        print('hello')\n"
        "        yield Bar(request.start_ns, 1.0, 1.0, 1.0, 1.0)\n"
    )
    shown = quasar_dev("bars", "loud.py", "A", "--start", "2026-01-01", "--end", "2026-01-02", "--json")
    assert len(json.loads(shown.stdout)) == 1
    assert "hello" in shown.stderr
    assert json.loads(quasar_dev("check", "loud.py", "--json").stdout)["passed"] is True


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


WAVES = "time,open,high,low,close,volume\n" + "\n".join(
    f"2026-{1 + day // 28:02}-{1 + day % 28:02},{price},{price + 1},{price - 1},{price},1000"
    for day, price in ((day, round(100 + 10 * math.sin(day / 10), 2)) for day in range(280))
)


@pytest.mark.usefixtures("run")
def test_a_new_strategy_is_back_tested_over_a_file_with_the_engines_own_figures() -> None:
    quasar_dev("new", "strategy", "trend")
    Path("ABC-1d.csv").write_text(WAVES)
    words = ("backtest", "trend.py", "--data", "ABC-1d.csv", "--set", "fast=3", "--set", "slow=5")
    found = json.loads(quasar_dev(*words, "--commission", "0.001", "--json").stdout)
    space: dict[str, Any] = {"__name__": "outside"}
    exec(Path("trend.py").read_text(), space)
    rules = MarketRules(cash=Decimal(100_000), commission=PercentCommission(Decimal("0.001")))
    bars = read_bars(Path("ABC-1d.csv"))
    result = run_backtest(space["Trend"]({"fast": 3, "slow": 5}), [Series("ABC", bars, "1d")], rules)
    assert found["final_equity"] == str(result.final_equity)
    assert found["sharpe"] == pytest.approx(result.statistics.sharpe)
    assert found["max_drawdown"] == pytest.approx(result.statistics.max_drawdown)
    assert found["trades"] == result.statistics.trades > 3
    assert found["expectancy"] == pytest.approx(result.statistics.expectancy)
    assert "total_return" in quasar_dev(*words, "--trades").output


@pytest.mark.usefixtures("run")
def test_a_strategy_that_raises_ends_the_back_test_with_its_line() -> None:
    Path("bad.py").write_text(
        "from quasar.strategy import Strategy\n\n\nclass Bad(Strategy):\n    def on_bar(self, bar):\n        1 / 0\n"
    )
    Path("data.csv").write_text(WAVES)
    done = quasar_dev("backtest", "bad.py", "--data", "data.csv")
    assert done.exit_code == 1
    assert "bad.py:6: ZeroDivisionError: division by zero" in done.stderr


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("kind", ["provider", "strategy", "broker"])
def test_the_test_that_comes_with_a_template_passes(kind: str) -> None:
    quasar_dev("new", kind, "my_own")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_own.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
