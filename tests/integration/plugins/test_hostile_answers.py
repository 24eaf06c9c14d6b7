"""Uploaded code that breaks or answers nonsense: it costs what was asked of it, and nobody else anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from quasar import errors
from quasar.plugins.manifest import Kind
from quasar.plugins.provider import LiveSymbol
from tests.integration.plugins.conftest import Plugins
from tests.integration.plugins.hostile import (
    ONE,
    finish,
    linux_only,
    quiet_neighbour,
    until,
    until_contained,
)

pytestmark = linux_only


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


async def test_a_description_that_breaks_the_contract_ends_no_other_plug_in(plugins: Plugins) -> None:
    neighbour = await quiet_neighbour(plugins)
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
