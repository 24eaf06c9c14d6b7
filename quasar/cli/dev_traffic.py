"""`quasar dev record` and `quasar dev replay`: a vendor's traffic, kept once and played back as often as wanted."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # the console must start at once
    from quasar.cli.dev_session import Way
    from quasar.plugins.process import ProcessSettings
    from quasar.sdk.recording import Head

_NOTHING = (
    "nothing was kept: only what goes through self.http and WebSocketProvider is. A library that makes its own "
    "connections is recorded through the preference that holds the vendor's address: --through NAME=URL"
)
TRYING = ("bars", "ticks", "symbols", "constituents")
"""The commands that ask a provider."""
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_recording = click.argument("recording", type=click.Path(dir_okay=False, path_type=Path))
_words = click.argument("words", metavar="COMMAND FILE ...", nargs=-1, type=click.UNPROCESSED)


@click.command(context_settings=_PASS_ON)
@click.option(
    "--through",
    multiple=True,
    metavar="NAME=URL",
    help="The preference that holds the vendor's address, with that address; for libraries that make their own "
    "connections.",
)
@_recording
@_words
@click.pass_context
def record(ctx: click.Context, recording: Path, words: tuple[str, ...], through: tuple[str, ...]) -> None:
    """Run a command and keep what the vendor sends in RECORDING.

    The command is `bars`, `ticks`, `symbols` or `constituents` with its arguments:

    quasar dev record btc.jsonl bars feed.py BTC/USD --interval 1min

    Kept is what goes through `self.http` and `WebSocketProvider`. A library of the vendor's (ccxt, databento) makes its
    own connections: name the preference that tells it where to connect, and it is led through this machine:

    quasar dev record --through rest_url=https://api.kraken.com btc.jsonl bars okx.py BTC/USD

    Options stand before RECORDING. Secrets and the headers of requests are left out.
    """
    kept, secrets = _without_secrets(words)
    _run(ctx, words, Keeping(recording, kept, _addresses(through), secrets))
    click.echo(f"kept in {recording}; play it back: quasar dev replay {recording}", err=True)


def _addresses(through: Sequence[str]) -> dict[str, str]:
    from quasar import errors
    from quasar.cli.tap import split_address

    found = {}
    for pair in through:
        name, _, url = pair.partition("=")
        try:
            split_address(name, url)
        except errors.InvalidArgument as error:
            raise click.UsageError(f"--through must be NAME=URL: {error.message}") from None
        found[name] = url
    return found


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


def _without_secrets(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words without secrets, and the values of those."""
    kept: list[str] = []
    given: list[str] = []
    hidden = False
    for word in words:
        if hidden or word.startswith("--secret="):
            given.append(word.removeprefix("--secret=").partition("=")[2])
        elif word != "--secret":
            kept.append(word)
        hidden = word == "--secret" and not hidden
    return tuple(kept), tuple(value for value in given if value)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Keeps traffic in a file."""

    path: Path
    command: tuple[str, ...]
    through: Mapping[str, str] = field(default_factory=dict)
    """Preferences whose addresses lead through this machine."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Their values, to be left out."""

    @asynccontextmanager
    async def __call__(self, settings: ProcessSettings) -> AsyncIterator[Way]:
        """Let the provider reach its vendor, and write the recording when it has ended."""
        from quasar.cli.dev_session import Way
        from quasar.cli.tap import Tap, unused
        from quasar.clock import SystemClock
        from quasar.sdk.recording import FILE, Recorder

        clock = SystemClock()
        now_ns = clock.time_ns()
        lines = [self._head(now_ns).line()]

        def keep(file: Path) -> None:
            if file.is_file() and not file.is_symlink():  # the folder is the plug-in's
                lines.append(file.read_text(encoding="utf-8"))

        with tempfile.TemporaryDirectory(prefix="quasar-dev-") as folder:
            recorder = Recorder(Path(folder) / FILE, lambda: self.secrets, clock.monotonic)
            taps = [Tap(name, url, recorder) for name, url in self.through.items()]
            try:
                async with AsyncExitStack() as stack:
                    for tap in taps:
                        await stack.enter_async_context(tap.serve())
                    led = {tap.name: tap.address for tap in taps}
                    yield Way(replace(settings, record=keep), now_ns, preferences=led)
            finally:  # what was seen before a failure is what shows why
                recorder.close()
                keep(Path(folder) / FILE)
                self.path.write_text("".join(lines), encoding="utf-8")
        for what in unused(taps):
            click.echo(what, err=True)
        if not taps and not any(lines[1:]):
            click.echo(_NOTHING, err=True)

    def _head(self, now_ns: int) -> Head:
        from quasar.sdk.recording import Head, Scrubber

        source = next((Path(word) for word in self.command[1:] if Path(word).is_file()), None)
        scrub = Scrubber(lambda: self.secrets)
        return Head(
            time_ns=now_ns,
            command=self.command,
            provider=source.stem if source else "",
            sha256=hashlib.sha256(source.read_bytes()).hexdigest() if source else "",
            through={name: scrub.url(url) for name, url in self.through.items()},
        )


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
            played = replace(settings, replay_port=player.port, player_ports=player.further_ports)
            yield Way(played, player.recording.head.time_ns, over, player.addresses)
        for what in dict.fromkeys(player.missing):
            click.echo(f"not in the recording: {what}", err=True)

    async def until_interrupted(self) -> None:
        """Play until the process is interrupted."""
        from quasar.cli.player import Player
        from quasar.sdk.recording import read_recording

        async with Player(read_recording(self.path), self.speed).serve(self.port) as player:
            click.echo(f"playing {self.path} on http://127.0.0.1:{player.port}/<scheme>/<host>/<path>; end with Ctrl+C")
            for name, address in player.addresses.items():
                click.echo(f"{name}={address}")
            await asyncio.Event().wait()
