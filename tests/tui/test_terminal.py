"""The console in a real terminal, on a platform whose markets move."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.harness import Installation, up
from tests.tui.terminal import missing, terminal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("console"), pytest.mark.timeout(600)]
CONSOLE = (sys.executable, "-P", "-m", "tui")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demonstration(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """A platform that `quasar demo` has filled."""
    if reason := missing():
        pytest.skip(reason)
    installation = Installation.at(tmp_path_factory.mktemp("console") / "home")
    try:
        async with up(installation) as running:
            await running.ready()
            filled = await installation.command("demo")
            assert filled.returncode == 0, filled.stderr
            yield installation
    finally:
        installation.end()


async def test_an_operator_sees_the_demonstration_and_steers_it(demonstration: Installation) -> None:
    # A socket's path has little room.
    with tempfile.TemporaryDirectory() as folder:
        async with terminal(Path(folder), CONSOLE, demonstration.environment) as console:
            await console.shows(r"Quasar › Pulse +● live")
            for service in ("registry", "datahub", "strategy"):
                await console.shows(rf"^ {service} +● serving +\d+[smh]")

            await console.press("5")
            first = await console.shows(r"^ BTC/USD +([\d,.]+)")
            await console.shows(rf"^ BTC/USD +(?!{first[1]} )[\d,.]+ [↑↓]")
            # What ended before the console was opened is there at once.
            await console.press("4", "/", *"1d.*initial", "Enter")
            await console.shows(r"● succeeded +\S+ 1d +simulated +initial")

            await console.press("3", "/", *"sol/.*1min", "Enter")
            await console.shows(r"^ 1 row  ")
            await console.press("e")
            await console.shows(r"SOL/USD .*○ paused")
            await console.press("e")
            await console.shows(r"SOL/USD(?!.*paused) ")

            await console.press("7")
            await console.shows(r"sma_cross v1 +paper +● running")
            await console.press("S")
            await console.shows("Stop the instance")
            await console.press("Tab", "Enter")
            await console.shows(r"paper +○ stopped")
            await console.press(":", *"halt", "Enter")
            await console.shows("Halt trading\\?")
            await console.press("Tab", "Enter")
            await console.shows("TRADING HALTED")
            await console.answers("must not be HALTED", "s")
            await console.press(":", *"resume", "Enter")
            await console.shows("Resume trading\\?")
            await console.press("Tab", "Enter")
            await console.shows(r"Strategies +● live\s*$")
            await console.press("s")
            await console.shows(r"paper +● running")

            await console.press(":", "q", "Enter")
            await console.closed()


async def test_a_console_for_looking_only_changes_nothing(demonstration: Installation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with terminal(Path(folder), (*CONSOLE, "--readonly"), demonstration.environment) as console:
            await console.press("3")
            await console.shows(r"ADA/USD .*● current")
            assert "ctrl-d remove" not in await console.screen()
            await console.press("e", "C-d")
            await console.answers("started with --readonly", ":", *"halt", "Enter")
            await console.shows(r"ADA/USD .*● current")
            assert "Remove the subscription" not in await console.screen()
