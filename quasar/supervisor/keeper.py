"""Keeps one program running: starts it again with growing waits when it dies, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from quasar.clock import Clock
from quasar.errors import StartupError
from quasar.supervisor.backoff import Backoff
from quasar.supervisor.child import Child, Program

UNUSABLE_SETTING = 2
"""Exit code of a program that cannot start with its settings: starting it again cannot help."""
CANNOT_START = 126
"""Exit code, as shells have it, of a program that the system could not start."""
_STARTS_TRIED = 3


class Keeper:
    """One program and its present process."""

    def __init__(
        self,
        program: Program,
        clock: Clock,
        say: Callable[[str], None],
        on_start: Callable[[], None],
        patience_s: float,
    ) -> None:
        """Keep `program` running once `run` is called.

        Args:
            program: What to run.
            clock: For waits and uptimes.
            say: Takes each line of the program's output, and what the keeper has to say of it.
            on_start: Called after each start of a process.
            patience_s: Seconds that a process has to end after it was asked to.
        """
        self.program = program
        self.restarts = 0
        self.was_healthy = asyncio.Event()
        """Set by whoever watches the health, at the first time that the program was healthy."""
        self._clock = clock
        self._say = say
        self._on_start = on_start
        self._patience_s = patience_s
        self._backoff = Backoff()
        self._child: Child | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Id of the present process; None between two of them."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def run(self) -> None:
        """Run the program until `stop`.

        Raises:
            StartupError: It never became healthy: it refused its settings, or died at each of its first starts.
        """
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            self._child = Child(self.program, self._say)
            try:
                code = await self._child.run(lambda _child: self._on_start())
            except OSError as error:  # too little memory for another process, perhaps: that may pass
                self._say(f"cannot be started ({error.strerror or error})")
                code = CANNOT_START
            if self._stopping.is_set():
                return
            self._give_up_on_a_start_without_hope(code)
            wait = self._backoff.after(self._clock.monotonic() - began)
            self._say(f"ended ({exit_words(code)}); it is started again in {wait:g} s")
            self.restarts += 1
            await self._wait(wait)

    def _give_up_on_a_start_without_hope(self, code: int) -> None:
        hopeless = code == UNUSABLE_SETTING or self.restarts + 1 >= _STARTS_TRIED
        if self.was_healthy.is_set() or not hopeless:
            return
        words = "\n".join(f"    {line}" for line in (self._child.last_words if self._child else ()))
        raise StartupError(f"The {self.program.name} cannot start ({exit_words(code)}). Its last words:\n{words}")

    async def _wait(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        sleeping = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait((stopping, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            sleeping.cancel()

    async def stop(self) -> None:
        """End the program for good: politely, then by force."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop(self._patience_s)

    def kill_process(self) -> None:
        """Kill the present process; another one is started."""
        if self._child is not None:
            self._child.kill()

    def kill(self) -> None:
        """End the program at once."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()


def exit_words(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
