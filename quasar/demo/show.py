"""The demonstration from its first step to its last, told as it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from quasar.client.platform import Platform
from quasar.demo import market, trading
from quasar.errors import DeadlineExceeded, FailedPrecondition

Tell = Callable[[str], None]
FIRST_TICK_S = 60.0
_T = TypeVar("_T")


async def show(platform: Platform, tell: Tell) -> None:
    """Fill the platform. Safe to repeat: what is there is kept.

    Args:
        platform: A running platform; the token must be an administrator's.
        tell: Takes each line for the reader.

    Raises:
        ServiceUnavailable: The platform is not up.
        QuasarError: A step failed.
    """
    await platform.ready()
    told = _Steps(platform, tell)
    symbols = await told.step("symbols", market.sync_symbols(platform), lambda found: f"{len(found)} of {_list(found)}")
    await told.step(
        "subscriptions", market.subscribe(platform, symbols), lambda done: f"{done[0]} made, {done[1]} were there"
    )
    await told.step("live ticks", first_tick(platform, symbols), lambda text: text)
    name, _ = await told.step(
        "strategy", trading.upload_strategy(platform), lambda done: f"{done[0]}, version {done[1]}, is active"
    )
    for interval in market.HISTORY:
        days = market.HISTORY[interval].days
        await told.step(
            f"{interval} bars",
            market.backfill(platform, symbols, interval),
            _bars_words(days),
        )
        if interval == market.MINUTES:
            await _trade(platform, told, name)


def _bars_words(days: int) -> Callable[[int], str]:
    return lambda bars: f"{days} days of each symbol, {bars:,} bars stored"


async def _trade(platform: Platform, told: _Steps, strategy: str) -> None:
    await told.step(
        "account", trading.open_account(platform), lambda made: f"{trading.ACCOUNT} {'opened' if made else 'was there'}"
    )
    await told.step(
        "instance",
        trading.start_instance(platform, strategy),
        lambda made: f"{trading.INSTANCE} on {trading.SYMBOL} {'made and started' if made else 'runs'}",
    )


async def first_tick(platform: Platform, symbols: list[str]) -> str:
    """Wait for a live trade of any symbol, and say which one came.

    Raises:
        FailedPrecondition: None came within a minute.
    """
    ends = platform.clock.monotonic() + FIRST_TICK_S
    stream = platform.bars_and_ticks.stream(market.PROVIDER, symbols, timeout_s=FIRST_TICK_S)
    try:
        async with aclosing(stream) as envelopes:
            async for envelope in envelopes:
                for symbol, ticks in envelope.ticks.items():
                    return f"{symbol} at {ticks.tick(-1).price:g}"
                if platform.clock.monotonic() > ends:
                    break
    except DeadlineExceeded:
        pass  # told below, with what helps
    raise FailedPrecondition(
        f"live trades of {market.PROVIDER} must arrive within {FIRST_TICK_S:g} s, none did; see the DataHub's log"
    )


class _Steps:
    """Times the steps and tells about them."""

    def __init__(self, platform: Platform, tell: Tell) -> None:
        self._clock = platform.clock
        self._tell = tell

    async def step(self, noun: str, work: Awaitable[_T], words: Callable[[_T], str]) -> _T:
        began = self._clock.monotonic()
        result = await work
        self._tell(f"  {noun:<14} {words(result)} ({self._clock.monotonic() - began:.1f} s)")
        return result


def _list(symbols: list[str]) -> str:
    return f"{market.PROVIDER}: {', '.join(symbols[:4])} …"
