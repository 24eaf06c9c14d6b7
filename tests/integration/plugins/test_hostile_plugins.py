"""Uploaded code that attacks: it reaches nothing that is not its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from quasar.plugins.jail import landlock, seccomp
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import (
    ATTEMPT,
    attempt,
    first_symbol,
    kernel_counts_threads,
    linux_only,
    needs_landlock,
    needs_seccomp,
)

pytestmark = linux_only


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


@needs_landlock
async def test_it_cannot_change_its_own_code_or_write_outside_its_scratch_folder(plugins: Plugins) -> None:
    code = "pathlib.Path(__import__('quasar').__file__).write_text('x')"
    assert (await attempt(plugins, code)).startswith("PermissionError")
    assert (await attempt(plugins, "pathlib.Path('/tmp/quasar-escaped').write_text('x')", "b")).startswith(
        "PermissionError"
    )
    assert (await attempt(plugins, "pathlib.Path('mine.txt').write_text('x')", "c")) == "DONE 1"


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
