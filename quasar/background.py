"""Tasks that run as long as their owner does: started in one place, cancelled and awaited in one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class Background:
    """Runs tasks until its context ends. A task that fails ends the context with its error."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        """Run tasks in `group`."""
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` until it ends or the context does.

        Args:
            work: What to do, usually without end.
            name: What it is called in the log of a failure.
        """
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in list(self._tasks):
            task.cancel()


@asynccontextmanager
async def background() -> AsyncIterator[Background]:
    """Run tasks beside the body; at its end they are cancelled and awaited."""
    async with asyncio.TaskGroup() as group:
        running = Background(group)
        try:
            yield running
        finally:
            running.cancel()
