"""`quasar dev`: a newcomer gets from nothing to bars on the screen."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quasar import errors
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
    assert [row["open_time"][:10] for row in rows] == [f"2026-01-{day:02}" for day in range(12, 32)]
    assert all(row["low"] <= row["close"] <= row["high"] for row in rows)
    assert "DEMO: 31 bars of 1d; asked for was 2026-01-01 00:00 to 2026-02-01 00:00 UTC" in shown.stderr
    assert "not be stored" not in shown.stderr
    assert "DEMO" in quasar_dev("symbols", "demo.py").output
    other = quasar_dev("bars", "demo.py", "NOPE")
    assert (other.exit_code, "NOPE: UnknownSymbol: demo has DEMO only" in other.stderr) == (1, True)


FLAWED = """
from quasar.provider import Bar, Provider

DAY = 86_400_000_000_000


class Flawed(Provider):
    name = "flawed"
    intervals = ("1d",)
    secrets = ("token",)

    async def bars(self, request):
        yield Bar(request.start_ns - DAY, 1.0, 1.0, 1.0, 1.0)
        yield Bar(request.start_ns, 1.0, 0.5, 3.0, 2.0)
        yield Bar(request.start_ns + DAY, 1.0, 1.0, 1.0, float("nan"))
        yield Bar(request.start_ns + 2 * DAY, 1.0, 1.0, 1.0, 1.0)
"""


@pytest.mark.usefixtures("run")
def test_bars_that_the_platform_would_not_store_are_named_before_anything_is_uploaded() -> None:
    Path("flawed.py").write_text(FLAWED)
    shown = quasar_dev("bars", "flawed.py", "A", "--start", "2026-01-01", "--end", "2026-02-01")
    assert "A: 1 of 4 would not be stored: open time must lie in the range that was asked for" in shown.stderr
    assert "A: 1 of 4 would not be stored: high must not be below low" in shown.stderr
    assert "A: 1 of 4 would not be stored: prices and volume must be finite numbers" in shown.stderr


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--interval", "7min"), r"the interval must be one that the class declares \(1d\), was 7min"),
        (("--start", "2026-02-01", "--end", "2026-01-01"), "the start must be before the end, was 2026-02-01"),
        (("--set", "scael=2"), "--set: preferences of flawed are none; it has no scael"),
        (("--secret", "tokn=x"), "--secret: secrets of flawed are token; it has no tokn"),
    ],
)
def test_a_slip_on_the_command_line_is_told_and_not_passed_over(words: tuple[str, ...], problem: str) -> None:
    Path("flawed.py").write_text(FLAWED)
    with pytest.raises(errors.InvalidArgument, match=problem):
        quasar_dev("bars", "flawed.py", "A", *words)


QUIET_FEED = """
import asyncio

from quasar.provider import Provider, Tick


class Feed(Provider):
    name = "feed"

    async def live(self, feed):
        for number in range(3):
            yield "A", Tick(1_700_000_000_000_000_000 + number, price=10.0 + number, size=1.0)
        await asyncio.sleep(600)
"""


@pytest.mark.usefixtures("run")
def test_live_ticks_are_shown_as_they_come_and_not_when_the_command_ends() -> None:
    Path("feed.py").write_text(QUIET_FEED)
    words = (sys.executable, "-m", "quasar.cli", "dev", "ticks", "feed.py", "A", "--seconds", "120")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline().split() for _ in range(4)]  # ends with the test when nothing comes
        still_going = running.poll() is None
        running.send_signal(signal.SIGINT)
    assert still_going
    assert lines[0][:4] == ["symbol", "event_time", "kind", "price"]
    assert [line[3] for line in lines[1:]] == ["10.0", "11.0", "12.0"]


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


BARS_ONLY = """
from quasar.provider import Bar, Provider


class Pushed(Provider):
    name = "pushed"
    intervals = ("1min",)
    streams_ticks = False

    async def live(self, feed):
        for wanted in list(feed.symbols.values()):
            for interval in wanted.intervals:
                yield wanted.symbol, interval, Bar(1_700_000_040_000_000_000, 1.0, 2.0, 0.5, 1.5, 7.0)
        while True:
            await feed.changed()
"""


@pytest.mark.usefixtures("run")
def test_a_live_source_of_bars_only_shows_its_bars() -> None:
    Path("pushed.py").write_text(BARS_ONLY)
    shown = quasar_dev("ticks", "pushed.py", "A", "--limit", "1")
    assert [line.split() for line in shown.stdout.splitlines()][1:] == [
        ["A", "2023-11-14", "22:14", "bar", "1min", "1.5", "7.0"]
    ]


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
