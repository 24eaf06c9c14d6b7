"""Programs in other languages, and grpcurl, against a running platform: what the documentation shows works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.clients.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("clients")]
RECIPES = ROOT / "docs" / "howto" / "grpcurl.md"
_BLOCK = re.compile(r"^```sh(?P<words>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


async def run(*arguments: str | Path, environment: dict[str, str], cwd: Path = ROOT) -> str:
    """Run a program to its end, and return what it printed; its exit code must be 0."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(argument) for argument in arguments],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def trades(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("trade ")]


async def test_the_go_program_subscribes_lists_and_streams_fifty_trades(
    environment: dict[str, str], go: str, tmp_path: Path
) -> None:
    folder = ROOT / "examples" / "clients" / "go"
    program = tmp_path / "client"
    await run(go, "build", "-o", program, ".", environment=environment, cwd=folder)
    output = await run(program, "-ticks", "50", "-within", "120s", environment=environment)
    assert "series       simulated:BTC/USD@1min" in output
    assert len(trades(output)) == 50


async def test_the_node_program_subscribes_lists_and_streams_fifty_trades(
    environment: dict[str, str], node: str, tmp_path: Path
) -> None:
    folder = ROOT / "examples" / "clients" / "typescript"
    program = tmp_path / "client.mjs"
    rolldown = ROOT / "node_modules" / ".bin" / "rolldown"
    options = ("--format", "esm", "--platform", "node", "--log-level", "silent")
    await run(rolldown, "src/main.ts", "--file", program, *options, environment=environment, cwd=folder)
    output = await run(node, program, "--ticks", "50", "--seconds", "120", environment=environment)
    assert "series       simulated:ETH/USD@1min" in output
    assert len(trades(output)) == 50


async def test_the_node_program_says_what_is_wrong_with_its_token(environment: dict[str, str], node: str) -> None:
    folder = ROOT / "examples" / "clients" / "typescript"
    await run("npm", "run", "--silent", "build", "--", "--log-level", "silent", environment=environment, cwd=folder)
    wrong = {**environment, "QUASAR_TOKEN": "qsr_wrong"}
    with pytest.raises(AssertionError, match="unauthenticated"):
        await run(node, folder / "dist" / "main.js", environment=wrong)


async def test_the_python_script_shows_history_and_follows_live_trades(environment: dict[str, str]) -> None:
    script = ROOT / "examples" / "clients" / "python" / "explore.py"
    await run(  # something must be subscribed, whatever test ran first
        sys.executable, "-c", _SUBSCRIBE, environment=environment
    )
    output = await run(sys.executable, script, "DOGE/USD", environment=environment)
    assert "minutes of DOGE/USD" in output
    assert int(output.splitlines()[-1].split()[0]) >= 50


_SUBSCRIBE = """
import asyncio, os
from quasar.client.platform import Platform
from quasar.demo import market

async def main():
    async with Platform.read(os.environ) as quasar:
        await market.subscribe(quasar, ["DOGE/USD"])
        await market.backfill(quasar, ["DOGE/USD"], market.MINUTES)

asyncio.run(main())
"""


def shell(environment: dict[str, str], grpcurl: Path) -> dict[str, str]:
    """The variables that the recipes use, and the way to the real grpcurl."""
    return {
        **environment,
        "PATH": f"{grpcurl.parent}{os.pathsep}{environment['PATH']}",
        "TOKEN": environment["QUASAR_TOKEN"],
        "REGISTRY": environment["QUASAR_REGISTRY_ADDRESS"],
        "DATAHUB": environment["QUASAR_DATAHUB_ADDRESS"],
        "STRATEGY": environment["QUASAR_STRATEGY_ADDRESS"],
    }


async def test_every_grpcurl_recipe_does_what_its_page_says(environment: dict[str, str], grpcurl: Path) -> None:
    settings = shell(environment, grpcurl)
    blocks = list(_BLOCK.finditer(RECIPES.read_text(encoding="utf-8")))
    assert len(blocks) >= 9
    printed = []
    for block in blocks:
        script = block["text"]
        if "may-time-out" in block["words"]:  # grpcurl's exit code is 64 + the status; 4 is DEADLINE_EXCEEDED
            script = f"{{ {script.rstrip()}; }} || [ $? -eq 68 ]\n"
        if "CreateSubscription" in script:  # the page says so; 6 is ALREADY_EXISTS
            script = f"{{ {script.rstrip()}; }} || [ $? -eq 70 ]\n"
        printed.append(await run("bash", "-euc", script, environment=settings))
    text = "\n".join(printed)
    for expected in (
        "quasar.registry.v1.CodeService",
        "rpc StreamMarketData",
        '"principal": "admin"',
        '"status": "SERVING"',
        '"symbol": "SOL/USD"',
        '"event_time_ns"',
        '"TRADING_STATE_HALTED"',
    ):
        assert expected in text, f"{expected} must be in the output of the recipes:\n{text[-4000:]}"


async def test_the_recipes_of_the_readme_work_as_they_stand_there(environment: dict[str, str], grpcurl: Path) -> None:
    await run(sys.executable, "-c", _SUBSCRIBE.replace("DOGE", "BTC"), environment=environment)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    recipes = [line for line in readme.splitlines() if line.startswith("grpcurl ")]
    assert len(recipes) >= 2
    settings = shell(environment, grpcurl)
    for port, name in (("8080", "REGISTRY"), ("8081", "DATAHUB"), ("8082", "STRATEGY")):
        recipes = [line.replace(f"localhost:{port}", f"${name}") for line in recipes]
    listed, found = [await run("bash", "-euc", recipe, environment=settings) for recipe in recipes[:2]]
    assert "quasar.registry.v1.CodeService" in listed
    assert '"symbol": "BTC/USD"' in found


async def test_the_back_test_of_the_page_on_strategies_runs_as_it_stands_there(
    environment: dict[str, str], grpcurl: Path
) -> None:
    prepare = _SUBSCRIBE.replace("DOGE", "SOL").replace("market.MINUTES", "market.DAYS")
    await run(sys.executable, "-c", prepare, environment=environment)
    page = (ROOT / "docs" / "howto" / "write-a-strategy.md").read_text(encoding="utf-8")
    [block] = [each for each in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S) if "StartBacktest" in each]
    upload, start, figures = re.split(r"^\$ ", block, flags=re.M)[1:]
    quasar = f"quasar() {{ '{sys.executable}' -P -m quasar.cli \"$@\"; }}\n"
    settings = shell(environment, grpcurl)
    assert "sma_cross" in await run("bash", "-euc", quasar + upload, environment=settings)
    answer = json.loads(await run("bash", "-euc", start, environment=settings))
    asked = figures.replace("<from the answer>", answer["backtest_id"])
    # The page's reader looks when it has ended; until then the call says so.
    deadline = asyncio.get_running_loop().time() + 120
    while '"trades"' not in (told := await shown(asked, settings)):
        assert asyncio.get_running_loop().time() < deadline, told
        await asyncio.sleep(0.5)


async def shown(script: str, environment: dict[str, str]) -> str:
    """What a command prints, whether it succeeds or not."""
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr
