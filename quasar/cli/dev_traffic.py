"""`quasar dev record` and `quasar dev replay`: a vendor's traffic, kept once and played back as often as wanted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # the console must start at once
    from quasar.cli.dev_session import Way
    from quasar.plugins.process import ProcessSettings

TRYING = ("bars", "ticks", "symbols", "constituents")
"""The commands that ask a provider."""
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_recording = click.argument("recording", type=click.Path(dir_okay=False, path_type=Path))
_words = click.argument("words", metavar="COMMAND FILE ...", nargs=-1, type=click.UNPROCESSED)


@click.command(context_settings=_PASS_ON)
@_recording
@_words
@click.pass_context
def record(ctx: click.Context, recording: Path, words: tuple[str, ...]) -> None:
    """Run a command and keep what the vendor sends in RECORDING.

    The command is `bars`, `ticks`, `symbols` or `constituents` with its arguments:

    quasar dev record btc.jsonl bars feed.py BTC/USD --interval 1min

    Kept is what goes through `self.http` and `WebSocketProvider`. Secrets and the headers of requests are left out.
    """
    _run(ctx, words, Keeping(recording, _without_secrets(words)))
    click.echo(f"kept in {recording}; play it back: quasar dev replay {recording}", err=True)


@click.command(context_settings=_PASS_ON)
@click.option("--serve", is_flag=True, help="Run no command; play until interrupted, for your own tests.")
@click.option("--port", default=0, help="Port of the player; a free one when absent.")
@click.option("--speed", default=0.0, help="Pace of live messages: 1 as they came; at once when absent.")
@_recording
@_words
@click.pass_context
def replay(ctx: click.Context, recording: Path, words: tuple[str, ...], serve: bool, port: int, speed: float) -> None:
    """Run a command against RECORDING instead of the vendor, offline; without a command, the one that was recorded.

    quasar dev replay btc.jsonl

    quasar dev replay btc.jsonl bars feed.py BTC/USD --interval 1min

    Options stand before RECORDING. Nothing but the player can be reached, and no secrets are needed.
    """
    from quasar.sdk.recording import read_recording

    kept = read_recording(recording)
    playing = Playing(recording, port, speed)
    if serve:
        asyncio.run(playing.until_interrupted())
        return
    _run(ctx, words or kept.head.command, playing)


def _run(ctx: click.Context, words: Sequence[str], traffic: Keeping | Playing) -> None:
    """Run another command of `quasar dev` with the traffic of its provider kept or played."""
    group = ctx.parent.command if ctx.parent is not None else None
    if not words or words[0] not in TRYING or not isinstance(group, click.Group):
        raise click.UsageError(
            f"the command must be {', '.join(TRYING[:-1])} or {TRYING[-1]}, was {' '.join(words[:1])!r}"
        )
    command = group.commands[words[0]]
    with command.make_context(words[0], list(words[1:]), parent=ctx.parent) as inner:
        inner.obj = traffic
        command.invoke(inner)


def _without_secrets(words: Sequence[str]) -> tuple[str, ...]:
    kept, hidden = [], False
    for word in words:
        if not hidden and word != "--secret" and not word.startswith("--secret="):
            kept.append(word)
        hidden = word == "--secret"
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Keeps traffic in a file."""

    path: Path
    command: tuple[str, ...]

    @asynccontextmanager
    async def __call__(self, settings: ProcessSettings) -> AsyncIterator[Way]:
        """Let the provider reach its vendor, and write the recording when it has ended."""
        from quasar.cli.dev_session import Way
        from quasar.clock import SystemClock
        from quasar.sdk.recording import Head

        now_ns = SystemClock().time_ns()
        source = next((Path(word) for word in self.command[1:] if Path(word).is_file()), None)  # noqa: ASYNC240
        head = Head(
            time_ns=now_ns,
            command=self.command,
            provider=source.stem if source else "",
            sha256=hashlib.sha256(source.read_bytes()).hexdigest() if source else "",
        )
        lines = [head.line()]

        def keep(file: Path) -> None:
            if file.is_file():
                lines.append(file.read_text(encoding="utf-8"))

        try:
            yield Way(replace(settings, record=keep), now_ns)
        finally:  # what was seen before a failure is what shows why
            self.path.write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Playing:
    """Plays traffic from a file."""

    path: Path
    port: int
    speed: float

    @asynccontextmanager
    async def __call__(self, settings: ProcessSettings) -> AsyncIterator[Way]:
        """Lead the provider to a player; say at the end what the recording lacked."""
        from quasar.cli.dev_session import Way
        from quasar.cli.player import Player
        from quasar.sdk.recording import read_recording

        player = Player(read_recording(self.path), self.speed)
        async with player.serve(self.port):
            over = player.over if player.has_connections else None
            yield Way(replace(settings, replay_port=player.port), player.recording.head.time_ns, over)
        for what in dict.fromkeys(player.missing):
            click.echo(f"not in the recording: {what}", err=True)

    async def until_interrupted(self) -> None:
        """Play until the process is interrupted."""
        from quasar.cli.player import Player
        from quasar.sdk.recording import read_recording

        async with Player(read_recording(self.path), self.speed).serve(self.port) as player:
            click.echo(f"playing {self.path} on http://127.0.0.1:{player.port}/<scheme>/<host>/<path>; end with Ctrl+C")
            await asyncio.Event().wait()
