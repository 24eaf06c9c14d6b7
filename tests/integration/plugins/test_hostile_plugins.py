"""Uploaded code that attacks or breaks: it is contained, told in one clear notice, and its neighbours go on."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quasar import errors
from quasar.plugins.containment import Containment
from quasar.plugins.jail import landlock, seccomp
from quasar.plugins.jail.spec import Limits
from quasar.plugins.manifest import Kind
from quasar.plugins.provider import BarRequest, LiveSymbol, ProviderHandle
from tests.integration.plugins.conftest import Plugins

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the jail is Linux's")

needs_landlock = pytest.mark.skipif(landlock.abi() < 4, reason="this kernel has no Landlock for files and TCP ports")
needs_seccomp = pytest.mark.skipif(not seccomp.supported(), reason="there is no seccomp filter for this machine")

ONE = BarRequest("A", "1min", 0, 60_000_000_000 * 10)

# Reports what an attempt came to as the name of a symbol, so that a test sees it.
ATTEMPT = """
    hosts = ("127.0.0.1:443",)

    async def symbols(self, exchange=""):
        import socket, subprocess, pathlib, threading, ctypes, fcntl, mmap
        def libc(name, *values):
            found = getattr(ctypes.CDLL(None, use_errno=True), name)(*map(ctypes.c_long, values))
            if found < 0:
                raise OSError(ctypes.get_errno(), name)
            return found
        try:
            outcome = (lambda: {attempt})()
            yield self.instrument("DONE " + repr(outcome)[:100])
        except BaseException as error:
            yield self.instrument(type(error).__name__ + " " + str(error)[:100])
"""


async def attempt(plugins: Plugins, expression: str, name: str = "attacker") -> str:
    return await first_symbol(await plugins.provider(ATTEMPT.format(attempt=expression), name))


async def first_symbol(provider: ProviderHandle) -> str:
    async for page in provider.list_symbols():
        return page[0].symbol
    return ""


async def finish(provider: ProviderHandle) -> errors.QuasarError | None:
    """Return how a fetch of one symbol ended."""
    ends = [batch for batch in [b async for b in provider.fetch_bars([ONE])] if batch.done]
    assert len(ends) == 1
    return ends[0].error


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


async def until_contained(plugins: Plugins, count: int = 1) -> Containment:
    """Wait for a notice."""
    await until(lambda: len(plugins.notices) >= count)
    return plugins.notices[-1]


@needs_landlock
async def test_it_cannot_read_the_system_context(plugins: Plugins, tmp_path: Path) -> None:
    secret = tmp_path / "system_context"
    secret.write_bytes(b"x" * 32)
    secret.chmod(0o644)
    assert (
        await attempt(plugins, f"open({str(secret)!r}).read()")
        == (f"PermissionError [Errno 13] Permission denied: '{secret}'"[:116])
    )


@needs_landlock
@pytest.mark.parametrize("path", ["/proc/1/environ", "/proc/{parent}/environ", "/proc/{parent}/mem", "/etc/passwd"])
async def test_it_cannot_look_into_other_processes_or_the_system(plugins: Plugins, path: str) -> None:
    outcome = await attempt(plugins, f"open({path.format(parent=os.getpid())!r}, 'rb').read(1)")
    assert outcome.startswith("PermissionError")


async def test_its_environment_holds_nothing_of_the_service(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUASAR_DATABASE_URL", "postgresql://user:password@localhost/x")
    outcome = await attempt(plugins, "sorted(os.environ)")
    assert "DATABASE" not in outcome
    assert "password" not in await attempt(plugins, "dict(os.environ)", "second")


@needs_landlock
async def test_it_cannot_read_the_scratch_folder_of_another_plug_in(plugins: Plugins) -> None:
    victim = await plugins.provider(
        """
        async def symbols(self, exchange=""):
            path = self.context.scratch / "mine.txt"
            path.write_text("private")
            path.chmod(0o666)
            yield self.instrument(str(path))
        """,
        "victim",
    )
    path = await first_symbol(victim)
    assert (await attempt(plugins, f"open({path!r}).read()")).startswith("PermissionError")
    assert (await attempt(plugins, f"os.listdir({str(Path(path).parents[1])!r})", "third")).startswith(
        "PermissionError"
    )


@needs_seccomp
async def test_it_cannot_open_the_socket_of_the_database(plugins: Plugins, tmp_path: Path) -> None:
    path = tmp_path / "s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        outcome = await attempt(plugins, f"socket.socket(socket.AF_UNIX).connect({str(path)!r})")
    assert outcome.startswith("PermissionError")


@needs_landlock
async def test_it_cannot_reach_ports_that_it_does_not_declare(plugins: Plugins) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = await attempt(plugins, f"socket.create_connection(('127.0.0.1', {port}), 1)")
        assert outcome.startswith("PermissionError")
        assert (await attempt(plugins, "socket.create_server(('127.0.0.1', 0))", "b")).startswith("PermissionError")
        declared = ATTEMPT.replace("127.0.0.1:443", f"127.0.0.1:{port}")
        reaching = await plugins.provider(
            declared.format(attempt=f"socket.create_connection(('127.0.0.1', {port}), 1).close()"), "c"
        )
        assert await first_symbol(reaching) == "DONE None"


@needs_seccomp
@needs_landlock
@pytest.mark.parametrize(
    "expression",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', {port}))",  # multipath TCP
        "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {port}))",  # a connection that begins with its data
        "socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', {port}))",
        "socket.socket(socket.AF_INET6, socket.SOCK_RAW)",
        "socket.socket().listen()",
    ],
)
async def test_it_cannot_reach_ports_around_what_landlock_looks_at(plugins: Plugins, expression: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        outcome = await attempt(plugins, expression.format(port=server.getsockname()[1]))
        assert outcome.startswith("PermissionError")
        with pytest.raises(TimeoutError):
            server.accept()


@needs_seccomp
@pytest.mark.parametrize(
    "expression",
    [
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",  # could send to any socket of that sort
        "os.memfd_create('x')",  # memory that nobody counts
        "mmap.mmap(-1, 10 << 30)",
        "fcntl.fcntl(0, fcntl.F_SETOWN, 1)",  # signals to others
        "libc('prctl', 1, 0)",  # a life after its service's
        "libc('syscall', 0x40000000 + 57)",  # fork, by its number for x32
    ],
)
async def test_it_cannot_step_out_of_its_limits_by_rare_calls(plugins: Plugins, expression: str) -> None:
    assert (await attempt(plugins, expression)).startswith("PermissionError")


async def test_it_cannot_change_the_permissions_of_files_of_its_service(plugins: Plugins, tmp_path: Path) -> None:
    mine = tmp_path / "system_context"
    mine.write_bytes(b"x" * 32)
    mine.chmod(0o600)
    before = mine.stat()
    everything = f"[os.chmod({str(mine)!r}, 0o666), os.utime({str(mine)!r}, (1, 1)), os.chmod({str(tmp_path)!r}, 0)]"
    await attempt(plugins, everything)
    after = mine.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    copying = "pathlib.Path('a').write_text('1') and __import__('shutil').copy2('a', 'b')"
    assert await attempt(plugins, copying, "copying") == "DONE 'b'"  # what is its own goes on


@needs_seccomp
@pytest.mark.parametrize(
    "expression",
    [
        "[os.fork() for _ in range(100_000)]",
        "subprocess.run(['/bin/true'])",
        "os.execv('/bin/sh', ['sh'])",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
    ],
)
async def test_it_cannot_fork_run_programs_or_signal_others(plugins: Plugins, expression: str) -> None:
    assert (await attempt(plugins, expression)).startswith("PermissionError")


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


def kernel_counts_threads(plugins: Plugins) -> bool:
    """Tell whether the kernel limits the threads of a plug-in here; the posture must tell the same."""
    (process,) = plugins.pool.processes()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    soft, hard = next(line.split()[2:4] for line in limits.splitlines() if line.startswith("Max processes"))
    counted = soft == hard == str(Limits().threads)
    (posture,) = (item for item in process.posture if item.measure == "threads")
    assert posture.enforced == counted, posture
    return counted


async def test_ten_gibibytes_are_refused_and_the_process_goes_on(plugins: Plugins) -> None:
    assert (await attempt(plugins, "bytearray(10 << 30)")).startswith("MemoryError")


async def test_a_leak_is_killed_told_once_and_started_again(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            held = []
            while True:
                held.append(np.ones(1 << 20))
                await asyncio.sleep(0.02)
            yield
        """
    )
    error = await finish(provider)
    assert isinstance(error, errors.PluginUnavailable)
    notice = await until_contained(plugins)
    assert notice.cause.value == "memory"
    assert "128 MiB are allowed" in notice.detail
    await provider.keeper.ready()
    assert len(plugins.notices) == 1


async def test_a_blocked_event_loop_is_killed_and_neighbours_go_on_meanwhile(plugins: Plugins) -> None:
    neighbour = await plugins.provider(
        """
        async def bars(self, request):
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """,
        "neighbour",
    )
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
    assert "did not answer for 1.5 s" in plugins.notices[0].detail
    await spinning.keeper.ready()


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
                held.append(np.ones(1 << 20))
                await asyncio.sleep(0.02)
            yield
        """,
}


async def latencies(provider: ProviderHandle, count: int) -> list[float]:
    """Return how long fetches of one bar take, seconds."""
    found = []
    for _ in range(count):
        began = asyncio.get_running_loop().time()
        assert await finish(provider) is None
        found.append(asyncio.get_running_loop().time() - began)
    return found


async def test_neighbours_keep_their_latency_while_others_attack(plugins: Plugins) -> None:
    neighbour = await plugins.provider(
        """
        async def bars(self, request):
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """,
        "neighbour",
    )
    pid = neighbour.keeper.process.pid if neighbour.keeper.process else 0
    quiet = float(np.median(await latencies(neighbour, 30)))
    attackers = [await plugins.provider(body, name) for name, body in ATTACKS.items()]
    async with asyncio.TaskGroup() as group:
        attacking = [group.create_task(finish(attacker)) for attacker in attackers]
        await asyncio.sleep(0.5)
        during = float(np.median(await latencies(neighbour, 60)))
        for task in attacking:
            task.cancel()
    assert during < max(10 * quiet, 0.25), f"{quiet * 1e3:.1f} ms before, {during * 1e3:.1f} ms during"
    assert neighbour.keeper.process is not None
    assert neighbour.keeper.process.pid == pid
    assert "neighbour" not in {notice.name for notice in plugins.notices}


@needs_landlock
async def test_it_cannot_change_its_own_code_or_write_outside_its_scratch_folder(plugins: Plugins) -> None:
    code = "pathlib.Path(__import__('quasar').__file__).write_text('x')"
    assert (await attempt(plugins, code)).startswith("PermissionError")
    assert (await attempt(plugins, "pathlib.Path('/tmp/quasar-escaped').write_text('x')", "b")).startswith(
        "PermissionError"
    )
    assert (await attempt(plugins, "pathlib.Path('mine.txt').write_text('x')", "c")) == "DONE 1"


async def test_leaving_by_os_exit_is_told_with_its_code(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            os._exit(7)
            yield
        """
    )
    assert isinstance(await finish(provider), errors.PluginUnavailable)
    notice = await until_contained(plugins)
    assert (notice.cause.value, notice.detail) == ("crashed", "ended by itself with exit code 7")


async def test_raising_in_every_method_ends_no_process(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            raise BaseException("bars")
            yield

        async def live(self, feed):
            raise SystemExit("live")
            yield

        async def symbols(self, exchange=""):
            raise asyncio.CancelledError
            yield

        async def constituents(self, index, as_of):
            raise KeyboardInterrupt
        """
    )
    process = provider.keeper.process
    assert process is not None
    assert isinstance(await finish(provider), errors.PluginFailed | errors.PluginUnavailable)
    for work in (_first(provider.list_symbols()), provider.constituents()):
        with pytest.raises(errors.QuasarError):
            await work


async def _first(items: AsyncIterator[Any]) -> Any:
    async for item in items:
        return item
    return None


async def test_bad_rows_arrive_as_they_are_and_unreadable_ones_as_rejected(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def bars(self, request):
            nan = float("nan")
            yield Bar(request.start_ns, nan, nan, nan, nan)
            yield Bar(request.end_ns + 10**18, 1.0, 1.0, 1.0, 1.0)
            yield Bar(request.start_ns, "dear", 1.0, 1.0, None)
        """
    )
    batches = [batch async for batch in provider.fetch_bars([ONE])]
    columns = next(batch.columns for batch in batches if batch.columns is not None)
    rejected = [row.detail for batch in batches for row in batch.rejected]
    assert np.isnan(columns.close[0])
    assert columns.open_time_ns[1] > ONE.end_ns
    assert len(rejected) == 1
    assert "wrong type" in rejected[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("yield Bar.at(__import__('datetime').datetime(2026, 1, 1), 1.0, 1.0, 1.0, 1.0)", "must be aware"),
        ("yield {'o': 1}", "must be Bar, BarColumns, EmptyRange or RejectedRow, was dict"),
        (
            "yield BarColumns(np.arange(200_000), *[np.ones(200_000)] * 5)",
            "at most 100000 rows",
        ),
        ("return", "must be an async generator"),
    ],
)
async def test_answers_that_cannot_be_used_fail_their_symbol_with_words(
    plugins: Plugins, line: str, words: str
) -> None:
    word = "async def" if "yield" in line else "def"
    provider = await plugins.provider(f"{word} bars(self, request):\n    {line}")
    error = await finish(provider)
    assert error is not None
    assert words in error.message


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
                if number % 100 == 99:
                    await asyncio.sleep(0)
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
            held = []
            while True:
                if {leak}:
                    held.append(np.ones(1 << 20))
                await asyncio.sleep(0.02)
            yield
        """


@pytest.mark.parametrize(("leak", "cause"), [(True, "memory"), (False, "hung")])
async def test_who_does_not_say_how_it_is_is_watched_all_the_same(plugins: Plugins, leak: bool, cause: str) -> None:
    provider = await plugins.provider(BREAKING_HEALTH.format(leak=leak))
    assert isinstance(await finish(provider), errors.PluginUnavailable)
    assert (await until_contained(plugins)).cause.value == cause


async def test_a_description_that_breaks_the_contract_ends_no_other_plug_in(plugins: Plugins) -> None:
    neighbour = await plugins.provider(
        """
        async def bars(self, request):
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """,
        "neighbour",
    )
    for name, change in (
        ("unknown", "made.capabilities.append(99)"),
        ("other_kind", "made.kind = 3"),
        ("limits", "made.rate_limits.add(calls=-1)"),
        ("time", "made.history_depths.add(interval='1d').depth.seconds = 1 << 62"),
    ):
        with pytest.raises(errors.QuasarError):
            await plugins.provider(
                f"""
        import quasar.plugins.host.plugin_service as service
        def breaking(manifest, real=service.manifest_to_proto):
            made = real(manifest)
            {change}
            return made
        service.manifest_to_proto = breaking
        """,
                name,
            )
    assert await finish(neighbour) is None


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
    neighbour = await plugins.provider(
        """
        async def bars(self, request):
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """,
        "neighbour",
    )
    asking = await plugins.provider(
        """
        rate_limit = (1, 3600.0)

        async def bars(self, request):
            async def ask():
                async with self.permit():
                    await asyncio.sleep(60)
            await asyncio.gather(*(ask() for _ in range(3_000)), return_exceptions=True)
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


async def test_a_secret_that_is_printed_logged_or_raised_never_leaves(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    value = "hunter2-hunter2"
    provider = await plugins.provider(
        """
        secrets = ("token",)

        async def bars(self, request):
            value = self.secret("token")
            print("my token is", value)
            self.log.error("token %s", value)
            os.write(2, ("raw " + value + chr(10)).encode())
            raise ValueError("https://x.example/?k=" + value)
            yield
        """,
        secrets={"token": value},
    )
    error = await finish(provider)
    assert error is not None
    assert value not in error.message
    assert provider.keeper.process is not None
    lines = provider.keeper.process.output.lines
    await until(lambda: sum("***" in line for line in lines) >= 3)
    told = capsys.readouterr()
    assert value not in told.out + told.err + " ".join(lines)


async def test_ignoring_cancellation_does_not_keep_the_process_alive(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def live(self, feed):
            number = 0
            while True:
                try:
                    number += 1
                    yield "A", Tick(number, price=1.0)
                    await asyncio.sleep(0.01)
                except BaseException:
                    pass
        """
    )
    async for batch in provider.stream_live([LiveSymbol("A")]):
        if batch.ticks:
            break
    process = provider.keeper.process
    assert process is not None
    async with asyncio.timeout(60):
        await plugins.pool.stop(Kind.PROVIDER, "mine")
    assert process.ended.is_set()
    assert plugins.notices == []


async def test_rows_for_other_symbols_are_left_out_and_counted(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        async def live(self, feed):
            while True:
                yield "OTHER", Tick(1, price=1.0)
                await asyncio.sleep(0.01)
        """
    )
    async for batch in provider.stream_live([LiveSymbol("A")]):
        assert not batch.ticks
        if batch.notices:
            break
    assert "not subscribed" in getattr(batch.notices[0], "detail", "")


async def test_a_plug_in_that_always_dies_waits_longer_each_time(plugins: Plugins) -> None:
    provider = await plugins.provider("async def bars(self, request):\n    yield Bar(0, 1.0, 1.0, 1.0, 1.0)")
    waits: list[float | None] = []
    for _ in range(3):
        await provider.keeper.ready()
        assert provider.keeper.process is not None
        provider.keeper.process._kill()
        waits.append((await until_contained(plugins, len(waits) + 1)).next_start_s)
    assert waits == [0.2, 0.4, 0.8]


async def test_the_posture_says_what_the_kernel_enforces_here(plugins: Plugins) -> None:
    await plugins.provider("")
    posture = {item.measure: item for item in plugins.pool.processes()[0].posture}
    assert set(posture) >= {"filesystem", "network", "memory", "processes", "environment", "user", "local sockets"}
    assert posture["threads"].enforced == kernel_counts_threads(plugins)
    assert not posture["scratch folder"].enforced
    assert posture["permissions"].enforced == seccomp.supported()
    assert posture["filesystem"].enforced == (landlock.abi() > 0)
    assert posture["processes"].enforced == seccomp.supported()
    assert posture["user"].enforced == (os.getuid() == 0 and landlock.abi() > 0)
    assert all(item.detail for item in posture.values())
