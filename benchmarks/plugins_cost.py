"""What the jail costs: processor time of a live provider in its own process, against the same code in the service's.

Both ways the service ends with the same values, `LiveBatch`: columns by symbol, and the encoded chunk that the DataHub
passes on to its readers as it is. Both ways single ticks are gathered by the same `LiveStream` for the same 20 ms, and
both run on the event loop that services run on.

- In process: the provider's `pump` runs in this process, and each batch is handed to the consumer as it is.
- Jailed: the same class runs behind `PluginPool`, as in the DataHub: limits, Landlock, seccomp, health checks once a
  second, log stream. What is counted is the processor time of both processes, every thread, user and system.

What is counted does not include the vendor's process, nor starting, connecting and subscribing. A round is void when
the provider did not keep up with the rate. Rounds of both kinds alternate; the figure is the median of their ratios.

Two providers are measured, each at 20,000 ticks/s:

- *reading a feed*: the built-in Kraken provider on a local WebSocket that speaks its protocol (`plugins_vendor`), 50
  symbols as in `benchmarks.live`, 1.25 trades a message as in the recorded sessions of the venue's trades. Others
  (Coinbase, Binance) send each trade in a message of its own. This is what the jail costs those who use it.
- *making ticks out of nothing*: a generator that yields ticks of one symbol with constant prices. No real provider does
  as little; this is the jail's cost at its most visible.

Beside them stands the floor: as many messages of the same size from one process to another, without a jail, a plug-in
or any decoding; the reader does nothing but read. They go through a named pipe, which is what the contract
`quasar.plugin.v1` offers a plug-in for its rows, and on a bare grpc.aio stream, which is what it did before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.plugins_floor import CALL, PIPE, floor, spent
from benchmarks.plugins_vendor import symbols, vendor
from quasar.plugins.batches import LiveBatch
from quasar.plugins.code import CodeVersion
from quasar.plugins.host.live import LiveStream
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.provider import Feed, LiveSymbol, Provider
from quasar.providers.kraken import Kraken
from quasar.sdk.context import Context

RATE: Final = 20_000
SYMBOLS: Final = 50
SECONDS: Final = 3.0
WARM_S: Final = 1.5
ROUNDS: Final = 4
BAR: Final = 15.0
FLUSH_S: Final = 0.02
BATCH_ROWS: Final = 4_096
_KEPT_UP: Final = 0.97

MADE: Final = b'''
import asyncio
import time

from quasar.provider import Preference, Provider, Tick


class Maker(Provider):
    """Makes ticks at a rate."""

    name = "maker"
    rate = Preference(20_000)

    async def live(self, feed):
        symbol = next(iter(feed.symbols))
        step = max(1, self.rate // 200)
        started, sent = time.monotonic(), 0
        while True:
            for number in range(step):
                yield symbol, Tick(time.time_ns(), price=100.5, size=2.0, trade_id=number)
            sent += step
            await asyncio.sleep(max(0.0, started + sent / self.rate - time.monotonic()))
'''


class SlowRound(Exception):
    """The provider did not keep up with the rate, for example because the machine was busy."""


@dataclass(slots=True)
class Service:
    """What takes the batches."""

    rows: int = 0
    batches: int = 0
    size: int = 0
    """Bytes of the chunks."""

    async def take(self, batch: LiveBatch) -> None:
        """Take one batch."""
        self.batches += 1
        for chunk in batch.tick_chunks:
            self.rows += len(chunk.columns)
            self.size += len(chunk.encoded)


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider to be measured."""

    name: str
    code: CodeVersion
    symbols: Sequence[str]
    preferences: dict[str, Any] = field(default_factory=dict)

    def made(self) -> Provider:
        """Return it as an object of this process."""
        space: dict[str, Any] = {"__name__": "in_process"}
        exec(compile(self.code.source, "maker.py", "exec"), space)  # the same source as in the jail
        found: type[Provider] = space.get("Maker", Kraken)
        return found(Context(name=self.name), self.preferences)

    @property
    def wanted(self) -> list[LiveSymbol]:
        """What is subscribed."""
        return [LiveSymbol(symbol) for symbol in self.symbols]


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds a second of one round."""

    service: float
    plugin: float
    batches: float
    """A second."""
    batch_bytes: int

    @property
    def both(self) -> float:
        """Of both processes."""
        return self.service + self.plugin


@asynccontextmanager
async def in_process(subject: Subject, service: Service) -> AsyncIterator[int]:
    """Run the provider in this process; gives 0 for the process id of the plug-in."""
    provider = subject.made()
    await provider.start()
    ids = {symbol: number for number, symbol in enumerate(subject.symbols, 1)}
    sink = LiveStream(ids, {}, service.take, time.time_ns, BATCH_ROWS)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(provider.pump(Feed(subject.wanted), sink)),
            group.create_task(sink.run(FLUSH_S)),
        ]
        yield 0
        for task in tasks:
            task.cancel()
    await provider.stop()


@asynccontextmanager
async def jailed(subject: Subject, service: Service) -> AsyncIterator[int]:
    """Run the provider in its jail; gives its process id."""
    with tempfile.TemporaryDirectory() as folder:
        async with PluginPool(Path(folder)) as pool:
            handle = await pool.provider(subject.code)

            async def read() -> None:
                async for batch in handle.stream_live(subject.wanted, flush_s=FLUSH_S):
                    await service.take(batch)

            reading = asyncio.create_task(read())
            assert handle.keeper.process is not None
            yield handle.keeper.process.pid
            reading.cancel()
            await asyncio.wait([reading])


async def spend(subject: Subject, *, jail: bool) -> Spent:
    """Measure one round.

    Raises:
        SlowRound: The provider did not keep up with the rate.
    """
    service = Service()
    async with (jailed if jail else in_process)(subject, service) as pid:
        await asyncio.sleep(WARM_S)
        before, plugin, began = time.process_time(), spent(pid), time.perf_counter()
        rows, batches = service.rows, service.batches
        await asyncio.sleep(SECONDS)
        passed = time.perf_counter() - began
        found = Spent(
            service=(time.process_time() - before) / passed,
            plugin=(spent(pid) - plugin) / passed,
            batches=(service.batches - batches) / passed,
            batch_bytes=service.size // max(1, service.batches),
        )
        reached = (service.rows - rows) / passed
    if reached < _KEPT_UP * RATE:
        raise SlowRound(f"{subject.name} must deliver {RATE:,} ticks/s, delivered {reached:,.0f}")
    return found


async def compare(subject: Subject, rounds: int = ROUNDS) -> tuple[list[Spent], list[Spent]]:
    """Return the rounds in process, and those in the jail.

    Raises:
        RuntimeError: The provider did not keep up in too many rounds.
    """
    free: list[Spent] = []
    held: list[Spent] = []
    void = 0
    while len(held) < rounds:
        try:
            pair = await spend(subject, jail=False), await spend(subject, jail=True)
        except SlowRound as slow:
            void += 1
            if void == rounds:
                raise RuntimeError(f"{void} rounds were void, the last one: {slow}") from None
            continue
        free.append(pair[0])
        held.append(pair[1])
    return free, held


def maker() -> Subject:
    """Return the provider that makes ticks out of nothing."""
    code = CodeVersion(
        kind=Kind.PROVIDER, name="maker", source=MADE, file_name="maker.py", preferences={"rate": RATE}, ports=()
    )
    return Subject("maker", code, ["X"], {"rate": RATE})


def reader(url: str, names: Sequence[str]) -> Subject:
    """Return the provider that reads a feed."""
    preferences = {"websocket_url": url}
    port = int(url.partition("//")[2].partition("/")[0].rpartition(":")[2])
    code = CodeVersion(
        kind=Kind.PROVIDER,
        name="kraken",
        builtin="quasar.providers.kraken:Kraken",
        preferences=preferences,
        ports=(port,),
    )
    return Subject("kraken", code, names, preferences)


def _row(name: str, free: Sequence[Spent], held: Sequence[Spent]) -> dict[str, Any]:
    ratio = statistics.median(own.both / other.both for own, other in zip(held, free, strict=True))
    extra = round((ratio - 1) * 100, 1)
    return {
        "issue": "plugins",
        "name": f"processor time of the jail at {RATE:,} ticks/s, {name}",
        "value": extra,
        "unit": "%",
        "against": "in process, ms/s",
        "against_value": round(statistics.median(one.both for one in free) * 1e3, 1),
        "ratio": round(ratio, 3),
        "bar": f"<= {BAR:g}",
        "holds": extra <= BAR,
    }


async def _floors(name: str, free: Sequence[Spent], held: Sequence[Spent]) -> list[dict[str, Any]]:
    """Return the rows of what the jail sends, sent bare."""
    batches, size = statistics.median(one.batches for one in held), held[0].batch_bytes
    alone = statistics.median(one.both for one in free)
    found = []
    for way, words in ((PIPE, "through a bare pipe"), (CALL, "on a bare stream")):
        bare = await floor(way, batches, size)
        found.append(
            {
                "issue": "plugins",
                "name": f"{batches:.0f} messages/s of {size:,} bytes {words} beside it, {name}",
                "value": round(bare * 1e3, 1),
                "unit": "ms/s",
                "against": "in process, ms/s",
                "against_value": round(alone * 1e3, 1),
                "ratio": round(bare / alone, 3),
                "bar": "",
                "holds": None,
            }
        )
    return found


async def measure() -> list[dict[str, Any]]:
    """Measure both providers."""
    with vendor(RATE, SYMBOLS) as url:
        reading = await compare(reader(url, symbols(SYMBOLS)))
    making = await compare(maker())
    found = []
    for name, compared in (("reading a feed", reading), ("making ticks out of nothing", making)):
        found += [_row(name, *compared), *await _floors(name, *compared)]
    return found


async def _show(options: argparse.Namespace) -> None:
    with vendor(RATE, options.symbols) as url:
        subjects = [reader(url, symbols(options.symbols))] if options.subject != "maker" else []
        subjects += [maker()] if options.subject != "reader" else []
        for subject in subjects:
            free, held = await compare(subject, options.rounds)
            for name, found in (("in process", free), ("jailed", held)):
                for one in found:
                    print(
                        f"{subject.name:8} {name:12} both {one.both * 1e3:7.1f} ms/s = service {one.service * 1e3:7.1f}"
                        f" + plug-in {one.plugin * 1e3:7.1f}, {one.batches:5.1f} batches/s"
                    )
            print(json.dumps(_row(subject.name, free, held)))
            for row in await _floors(subject.name, free, held):
                print(json.dumps(row))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", choices=("maker", "reader", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_show(parser.parse_args()))
