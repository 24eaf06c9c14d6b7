"""Names of hosts in the jail: looked up in files, by the system's resolver, and by c-ares."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from quasar.testing.vendors import KrakenServer, SimulatedExchange
from tests.integration.plugins import ordinary
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import first_symbol

NAME = "exchange.quasar.test"
NAMESERVER = "127.83.0.53"


def answer(query: bytes, name: str) -> bytes:
    """Answer a question for an address: this machine for the name, nothing for any other."""
    wanted = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    end = query.index(b"\0", 12) + 5
    question, kind = query[12:end], struct.unpack(">H", query[end - 4 : end - 2])[0]
    known = question[:-4].lower() == wanted
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    found = known and kind == 1
    flags = 0x8180 if known else 0x8183
    return query[:2] + struct.pack(">HHHHH", flags, 1, int(found), 0, 0) + question + (record if found else b"")


@contextmanager
def nameserver(host: str, port: int) -> Iterator[int]:
    """Answer for the name; yields the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((host, port))
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    query, client = server.recvfrom(512)
                except TimeoutError:
                    continue
                server.sendto(answer(query, NAME), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            over.set()
            thread.join()


async def test_a_declared_host_is_reached_by_a_name_of_the_hosts_file(plugins: Plugins) -> None:
    async def hello(_request: web.Request) -> web.Response:
        return web.json_response({"symbol": "HELLO"})

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    provider = await plugins.provider(
        f"""
        hosts = ("localhost:{port}",)

        async def symbols(self, exchange=""):
            answer = await self.http.json("http://localhost:{port}/")
            yield self.instrument(answer["symbol"])
        """
    )
    try:
        assert await first_symbol(provider) == "HELLO"
    finally:
        await runner.cleanup()


async def test_a_library_with_a_resolver_of_its_own_works_too(plugins: Plugins) -> None:
    pytest.importorskip("aiodns", reason="aiodns is not installed")
    with nameserver("127.0.0.1", 0) as port:
        provider = await plugins.provider(
            f"""
        hosts = ("{NAME}",)

        async def symbols(self, exchange=""):
            import aiodns
            resolver = aiodns.DNSResolver(nameservers=["127.0.0.1"], udp_port={port}, timeout=5)
            found = await resolver.getaddrinfo({NAME!r}, family=2)
            yield self.instrument(found.nodes[0].addr[0].decode())
        """
        )
        assert await first_symbol(provider) == "127.0.0.1"


async def test_a_name_that_nobody_knows_is_told_as_such(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        hosts = ("nobody.invalid",)

        async def symbols(self, exchange=""):
            import socket
            try:
                socket.getaddrinfo("nobody.invalid", 443)
            except OSError as error:
                yield self.instrument(type(error).__name__)
        """
    )
    assert await first_symbol(provider) == "gaierror"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root for a name server on port 53")
@pytest.mark.timeout(240)
async def test_ccxt_finds_its_exchange_by_a_name_that_only_a_name_server_knows() -> None:
    pytest.importorskip("ccxt", reason="ccxt is not installed")
    home = Path("/tmp") / f"quasar-names-{os.getpid()}"
    home.mkdir(mode=0o755)
    os.chown(home, ordinary.USER, ordinary.USER)
    (home / "resolv.conf").write_text(f"nameserver {NAMESERVER}\noptions timeout:5\n")
    try:
        with nameserver(NAMESERVER, 53):
            async with KrakenServer(SimulatedExchange()) as server:
                port = server.rest_url.rpartition(":")[2]
                done = await asyncio.to_thread(fetch_as_ordinary_user, home, port)
    finally:
        shutil.rmtree(home)
    if done.returncode == ordinary.CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) >= 29


def fetch_as_ordinary_user(home: Path, port: str) -> subprocess.CompletedProcess[str]:
    """Fetch in a process with a resolv.conf of its own."""
    module = "tests.integration.plugins."
    names = f"{ordinary.NAMES_FROM}{home}/resolv.conf"
    return subprocess.run(
        [sys.executable, "-m", f"{module}ordinary", names, sys.executable, "-m", f"{module}resolving", NAME, port],
        cwd=ordinary.ROOT,
        env={"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
