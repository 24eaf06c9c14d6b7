"""Uploaded code that takes all it can get: it is contained, told in one clear notice, and its neighbours go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from quasar import errors
from quasar.plugins.jail.spec import Limits
from tests.integration.plugins.conftest import HANG_S, Plugins
from tests.integration.plugins.hostile import (
    attempt,
    finish,
    first_symbol,
    kernel_counts_threads,
    latencies,
    linux_only,
    quiet_neighbour,
    until,
    until_contained,
)

pytestmark = linux_only

ATTACKS = {
    "spinning": """
        async def bars(self, request):
            import threading
            def spin():
                while True:
                    pass
            for _ in range(4):
                threading.Thread(target=spin, daemon=True).start()
            await asyncio.sleep(60)
            yield
        """,
    "forking": """
        async def bars(self, request):
            while True:
                try:
                    os.fork()
                except OSError:
                    await asyncio.sleep(0)
            yield
        """,
    "writing": """
        async def bars(self, request):
            while True:
                print("x" * 1024)
                await asyncio.sleep(0)
            yield
        """,
    "leaking": """
        async def bars(self, request):
            held = []
            while True:
                try:
                    held.append(np.ones(1 << 20))
                except MemoryError:
                    pass  # the kernel was faster than the service; it keeps what it has
                await asyncio.sleep(0.02)
            yield
        """,
}


async def test_it_cannot_grow_threads_without_end(plugins: Plugins) -> None:
    body = """
        async def symbols(self, exchange=""):
            import threading
            threading.stack_size(32 * 1024)
            try:
                for number in range(100_000):
                    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                    await asyncio.sleep(0)
            except RuntimeError:
                yield self.instrument(f"refused after {number}")
        """
    provider = await plugins.provider(body)
    if kernel_counts_threads(plugins):
        refused = await first_symbol(provider)
        assert refused.startswith("refused after ")
        assert int(refused.split()[-1]) < Limits().threads
        return
    with pytest.raises(errors.PluginUnavailable):
        await first_symbol(provider)
    notice = await until_contained(plugins)
    assert notice.cause.value == "threads"
    assert f"where {Limits().threads} are allowed" in notice.detail


async def test_ten_gibibytes_are_refused_and_the_process_goes_on(plugins: Plugins) -> None:
    assert (await attempt(plugins, "bytearray(10 << 30)")).startswith("MemoryError")


async def test_a_leak_is_killed_told_once_and_started_again(plugins: Plugins) -> None:
    provider = await plugins.provider(ATTACKS["leaking"])
    error = await finish(provider)
    assert isinstance(error, errors.PluginUnavailable)
    notice = await until_contained(plugins)
    assert notice.cause.value == "memory"
    assert "128 MiB are allowed" in notice.detail
    await provider.keeper.ready()
    assert len(plugins.notices) == 1


async def test_a_blocked_event_loop_is_killed_and_neighbours_go_on_meanwhile(plugins: Plugins) -> None:
    neighbour = await quiet_neighbour(plugins)
    spinning = await plugins.provider(
        """
        async def bars(self, request):
            while True:
                pass
            yield
        """
    )
    async with asyncio.TaskGroup() as group:
        stuck = group.create_task(finish(spinning))
        while not plugins.notices:
            assert await finish(neighbour) is None
            await asyncio.sleep(0.05)
        error = await stuck
    assert isinstance(error, errors.PluginUnavailable)
    assert plugins.notices[0].cause.value == "hung"
    assert f"did not answer for {HANG_S:g} s" in plugins.notices[0].detail
    await spinning.keeper.ready()


async def test_neighbours_keep_their_latency_while_others_attack(plugins: Plugins) -> None:
    neighbour = await quiet_neighbour(plugins)
    pid = neighbour.keeper.process.pid if neighbour.keeper.process else 0
    quiet = float(np.median(await latencies(neighbour, 30)))
    attackers = [await plugins.provider(body, name) for name, body in ATTACKS.items()]
    async with asyncio.TaskGroup() as group:
        attacking = [group.create_task(finish(attacker)) for attacker in attackers]
        await asyncio.sleep(0.5)
        during = float(np.median(await latencies(neighbour, 60)))
        for task in attacking:
            task.cancel()
    # They share the machine with other tests: this tells a neighbour that is slowed from one that starves.
    assert during < max(10 * quiet, 1.0), f"{quiet * 1e3:.1f} ms before, {during * 1e3:.1f} ms during"
    assert neighbour.keeper.process is not None
    assert neighbour.keeper.process.pid == pid
    assert "neighbour" not in {notice.name for notice in plugins.notices}


async def test_a_gibibyte_of_log_is_cut_and_counted(plugins: Plugins, capsys: pytest.CaptureFixture[str]) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            for number in range(1 << 15):
                print("x" * 1024)
                if number % 1000 == 0:
                    await asyncio.sleep(0)
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """
    )
    assert await finish(provider) is None
    assert provider.keeper.process is not None
    assert len(provider.keeper.process.output.lines) <= 400
    assert len(capsys.readouterr().out) < 4_000_000


async def test_raw_output_without_end_hurts_only_who_writes_it(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            block = b"y" * (1 << 20)
            for _ in range(1024):
                os.write(1, block)
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """
    )
    assert isinstance(await finish(provider), errors.PluginUnavailable)
    assert (await until_contained(plugins)).cause.value == "hung"


async def test_files_beyond_the_scratch_folders_size_end_the_process(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            for number in range(100):
                (self.context.scratch / f"{number}").write_bytes(b"z" * (1 << 20))
                await asyncio.sleep(0.01)
            await asyncio.sleep(60)
            yield
        """
    )
    await finish(provider)
    notice = await until_contained(plugins)
    assert notice.cause.value == "scratch"
    assert "8 MiB are allowed" in notice.detail


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("open(f'{number}', 'w').close(); os.mkdir(f'{number}-')", "8 MiB are allowed"),  # empty, and yet on the disk
        ("held.append(open('x', 'wb', 0)); held[-1].write(b'z' * (1 << 20)); os.unlink('x')", "8 MiB are allowed"),
        ("os.mkdir('d' * 20); os.chdir('d' * 20)", "nested its folders too deep"),
    ],
)
async def test_files_that_are_hard_to_count_end_the_process_and_are_removed(
    plugins: Plugins, line: str, words: str
) -> None:
    provider = await plugins.provider(
        f"""
        async def symbols(self, exchange=""):
            yield self.instrument(str(self.context.scratch))

        async def bars(self, request):
            os.chdir(self.context.scratch)
            held = []
            for number in range(100_000 if 'held' not in {line!r} else 40):
                {line}
                if number % 10 == 9:
                    await asyncio.sleep(0)  # on a slow disk too it says in time how it is
            await asyncio.sleep(60)
            yield
        """
    )
    scratch = Path(await first_symbol(provider))
    assert isinstance(await finish(provider), errors.PluginUnavailable)
    notice = await until_contained(plugins)
    assert notice.cause.value == "scratch"
    assert words in notice.detail
    await until(lambda: not scratch.exists())
    await provider.keeper.ready()


BREAKING_HEALTH = """
        async def bars(self, request):
            import quasar.plugins.host.plugin_service as service
            service.plugin_pb2 = None
            held = np.ones(20 << 20) if {leak} else None  # at once: it would be killed for its silence a second later
            await asyncio.sleep(600)
            yield
        """


@pytest.mark.parametrize(("leak", "cause"), [(True, "memory"), (False, "hung")])
async def test_who_does_not_say_how_it_is_is_watched_all_the_same(plugins: Plugins, leak: bool, cause: str) -> None:
    provider = await plugins.provider(BREAKING_HEALTH.format(leak=leak))
    assert isinstance(await finish(provider), errors.PluginUnavailable)
    assert (await until_contained(plugins)).cause.value == cause


async def test_lines_of_any_length_and_number_are_cut_by_the_service(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            from quasar.plugins.host import journal
            journal._LONGEST, journal._PER_SECOND = 1 << 30, 1 << 30
            print("x" * (1 << 20))
            for number in range(1_000):
                print("y" * 1_000)
                await asyncio.sleep(0)
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """
    )
    assert await finish(provider) is None
    assert provider.keeper.process is not None
    lines = provider.keeper.process.output.lines
    await until(lambda: any(line.startswith("y") for line in lines))
    assert max(map(len, lines)) <= 8 * 1024
    assert len(lines) <= 400


async def test_asking_for_permits_without_end_hurts_only_who_asks(plugins: Plugins) -> None:
    neighbour = await quiet_neighbour(plugins)
    asking = await plugins.provider(
        """
        rate_limit = (1, 3600.0)

        async def bars(self, request):
            async def ask():
                async with self.permit():
                    await asyncio.sleep(60)
            asked = []
            for number in range(3_000):
                asked.append(asyncio.ensure_future(ask()))
                if number % 50 == 49:
                    await asyncio.sleep(0)  # on a slow machine too it says in time how it is
            await asyncio.gather(*asked, return_exceptions=True)
            yield
        """,
        "asking",
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(finish(asking))
        await until(lambda: asking.budget.waiting > 100)
        during = float(np.median(await latencies(neighbour, 30)))
        waiting = asking.budget.waiting
        task.cancel()
    assert waiting <= 2_000
    assert during < 1.0
