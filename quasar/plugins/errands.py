"""Tasks that serve one object for as long as it is open, where a task group would end all of them with the first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from quasar import logs

_log = logs.get("quasar.plugins.errands")


class Errands:
    """An async context manager that cancels what it has begun, and waits for it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._tasks: list[asyncio.Task[Any]] = []

    def add(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin one."""
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel what goes on. A failure that nobody waited for is logged."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _log.debug("errand failed", error=str(result), error_type=type(result).__name__)
