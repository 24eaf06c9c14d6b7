"""`quasar demo` as its reader runs it: on a platform that is up, twice, and on none."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.harness import Installation, up


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_demonstration_fills_an_empty_platform_and_may_be_repeated(installation: Installation) -> None:
    async with up(installation) as running:
        await running.ready()
        first = await installation.command("demo")
        assert first.returncode == 0, first.stderr
        assert "40 made, 0 were there" in first.stdout
        for interval, at_least in (("1min", 20 * 7 * 1440), ("1d", 20 * 365)):
            found = re.search(rf"{interval} bars .*, ([\d,]+) bars stored", first.stdout)
            assert found is not None, first.stdout
            assert int(found[1].replace(",", "")) >= at_least
        assert "demo-sma-cross on SOL/USD made and started" in first.stdout
        assert f"http://localhost:{installation.port('gateway')}" in first.stdout
        again = await installation.command("demo")
        assert again.returncode == 0, again.stderr
        assert "0 made, 40 were there" in again.stdout
        assert "demo-sma-cross on SOL/USD runs" in again.stdout
    stopped = await installation.command("demo")
    assert stopped.returncode == 1
    assert "start the platform with `quasar up`" in stopped.stderr


def test_the_demonstration_says_what_helps_when_nothing_was_ever_started(installation: Installation) -> None:
    done = installation.run("demo")
    assert done.returncode == 2
    assert "start the platform with `quasar up`" in done.stderr
    assert "Traceback" not in done.stderr
