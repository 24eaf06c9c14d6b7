"""What the tests of uploaded code that attacks or breaks have in common."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from quasar import errors
from quasar.plugins.batches import LiveBatch
from quasar.plugins.containment import Containment
from quasar.plugins.jail import landlock, seccomp
from quasar.plugins.jail.spec import Limits
from quasar.plugins.provider import BarRequest, LiveSymbol, ProviderHandle
from quasar.provider import ConnectionNotice, ConnectionState
from tests.integration.plugins.conftest import Plugins

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the jail is Linux's")

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


async def quiet_neighbour(plugins: Plugins) -> ProviderHandle:
    """Run a provider that does nobody any harm."""
    return await plugins.provider(
        """
        async def bars(self, request):
            yield Bar(0, 1.0, 1.0, 1.0, 1.0)
        """,
        "neighbour",
    )


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


async def latencies(provider: ProviderHandle, count: int) -> list[float]:
    """Return how long fetches of one bar take, seconds."""
    found = []
    for _ in range(count):
        began = asyncio.get_running_loop().time()
        assert await finish(provider) is None
        found.append(asyncio.get_running_loop().time() - began)
    return found


def kernel_counts_threads(plugins: Plugins) -> bool:
    """Tell whether the kernel limits the threads of a plug-in here; the posture must tell the same."""
    (process,) = plugins.pool.processes()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    soft, hard = next(line.split()[2:4] for line in limits.splitlines() if line.startswith("Max processes"))
    counted = soft == hard == str(Limits().threads)
    (posture,) = (item for item in process.posture if item.measure == "threads")
    assert posture.enforced == counted, posture
    return counted


# Numbers its ticks, and says after each hundred of them how many there were.
COUNTED = """
    {before}

    async def live(self, feed):
        number = 0
        while True:
            for _ in range(100):
                number += 1
                yield "A", Tick(number, price=1.0, size=1.0, trade_id=number)
            yield SymbolNotice("A", SymbolState.SUBSCRIBED, str(number))
            await asyncio.sleep(0.005)
"""


def trades(batch: LiveBatch) -> list[int]:
    return [
        number
        for chunk in batch.tick_chunks
        if chunk.columns.trade_id is not None
        for number in chunk.columns.trade_id.tolist()
    ]


def breaks(batch: LiveBatch) -> list[str]:
    """Return why the stream broke."""
    return [
        notice.error
        for notice in batch.notices
        if isinstance(notice, ConnectionNotice) and notice.state is ConnectionState.DISCONNECTED
    ]


def pipes_of(provider: ProviderHandle) -> list[str]:
    """Return the pipes that a provider's process has open, by name."""
    assert provider.keeper.process is not None
    folder = Path(f"/proc/{provider.keeper.process.pid}/fd")
    targets = [entry.readlink() for entry in folder.iterdir()]
    return [target.name for target in targets if target.parent.name == "rows"]


async def first_break(provider: ProviderHandle, seen: Callable[[LiveBatch], None] = lambda _: None) -> str:
    async with asyncio.timeout(30), aclosing(provider.stream_live([LiveSymbol("A")])) as batches:
        async for batch in batches:
            seen(batch)
            if found := breaks(batch):
                return found[0]
    return ""
