"""A terminal that a test types into and reads: tmux, with a server of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 90
LOOK_S = 0.2


def missing() -> str | None:
    """Why there is no terminal here."""
    return None if shutil.which("tmux") else "tmux is not installed; with it the console is driven in a real terminal"


@dataclass(frozen=True)
class Terminal:
    """A window of a tmux server."""

    socket: Path
    environment: Mapping[str, str]

    async def tmux(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments),
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        return told.decode()

    async def press(self, *keys: str) -> None:
        """Press keys by tmux's names, as fast as nobody types."""
        await self.tmux("send-keys", *keys)

    async def screen(self) -> str:
        """What is on the screen now."""
        return await self.tmux("capture-pane", "-p")

    async def answers(self, pattern: str, *keys: str) -> None:
        """Press keys until the screen has what a regular expression asks for: a note leaves again by itself."""
        for last in (False, False, True):
            await self.press(*keys)
            try:
                await self.shows(pattern, patience_s=PATIENCE_S if last else PATIENCE_S / 6)
            except AssertionError:
                if last:
                    raise
            else:
                return

    async def shows(self, pattern: str, *, patience_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait until the screen has what a regular expression asks for."""
        seen = ""
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    seen = await self.screen()
                    if found := re.search(pattern, seen, re.MULTILINE):
                        return found
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"must show {pattern!r}, shows:\n{seen}") from None

    async def closed(self) -> None:
        """Wait until what ran in the window has ended, which ends the server."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = await self.tmux("list-sessions")
                if "no server" in told or "error connecting" in told:
                    return
                await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def terminal(
    folder: Path, command: Sequence[str], environment: Mapping[str, str], *, columns: int = 140, lines: int = 40
) -> AsyncIterator[Terminal]:
    """Run a command in a terminal until it ends, or the context does."""
    variables = {**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    for size in ("COLUMNS", "LINES"):
        # Tests that run beside each other have a size of their own, which a program takes for that of its terminal.
        variables.pop(size, None)
    window = Terminal(folder / "tmux", variables)
    told = await window.tmux("-u", "new-session", "-d", "-x", str(columns), "-y", str(lines), *command)
    assert told == "", told
    try:
        yield window
    finally:
        await window.tmux("kill-server")
