"""What a plug-in logs and prints, brought into the log of its service: without secrets, and never too much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from quasar import logs
from quasar.clock import Clock
from quasar.convert.manifest import value_to_plain
from quasar.plugins.code import CodeVersion
from quasar.plugins.jail.posture import POSTURE_MARK, PostureItem, from_plain
from quasar.sdk.redaction import Redaction
from quasar_proto.plugin.v1 import plugin_pb2

_CHUNK: Final = 64 * 1024
_BYTES_PER_S: Final = 4 * 1024 * 1024
"""What is read of raw output a second; a process that writes more has to wait."""
_LINES_PER_S: Final = 50
_LONGEST: Final = 8 * 1024
_LOOKED_AT: Final = 2 * _LONGEST
"""What is read of a line, so that a secret at the place where it is cut is seen whole."""
_KEPT: Final = 400
_MOST_FIELDS: Final = 32
"""Of one line, that the code adds."""
_LONGEST_NAME: Final = 100
_LEVELS: Final = frozenset({"debug", "info", "warning", "error"})


class Output:
    """The log of one process."""

    def __init__(self, code: CodeVersion, redact: Redaction, clock: Clock) -> None:
        """Log under the name of the code."""
        self.posture: tuple[PostureItem, ...] = ()
        self.reading = -1
        """The end of the pipe that the process writes to."""
        self.lines: deque[str] = deque(maxlen=_KEPT)
        """The last lines, for reports."""
        self.redact = redact
        self._clock = clock
        self._log = logs.get("quasar.plugins").bind(plugin=code.name, kind=code.kind.value, version=code.version)
        self._second = 0
        self._in_second = 0
        self._dropped = 0

    def last_words(self) -> str:
        """Return the last line that was written, to stand behind a message; empty when there is none."""
        return f"; its last words were: {self.lines[-1]}" if self.lines else ""

    async def pump(self, process: asyncio.subprocess.Process | None) -> None:
        """Read standard output and error until the process closes them."""
        first = True
        async for line in self._raw_lines():
            if first and line.startswith(POSTURE_MARK):
                first = False
                self.posture = from_plain(json.loads(line.removeprefix(POSTURE_MARK)))
            else:
                self._note("info", line, {})

    async def _raw_lines(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_CHUNK)
        pipe = os.fdopen(self.reading, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        rest, budget, began = b"", _BYTES_PER_S, self._clock.monotonic()
        try:
            while chunk := await reader.read(_CHUNK):
                budget -= len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole[:_KEPT]:
                    yield line[:_LOOKED_AT].decode(errors="replace")
                self._dropped += max(0, len(whole) - _KEPT)
                rest = rest[:_LOOKED_AT]
                if budget <= 0:
                    await self._clock.sleep(max(0.0, began + 1.0 - self._clock.monotonic()))
                    budget, began = _BYTES_PER_S, self._clock.monotonic()
            if rest:
                yield rest.decode(errors="replace")
        finally:
            transport.close()

    async def follow(self, channel: grpc.aio.Channel) -> None:
        """Read the log stream of the process until it ends."""
        serialise: Any = plugin_pb2.StreamLogsRequest.SerializeToString
        call: Any = channel.unary_stream(
            "/quasar.plugin.v1.Plugin/StreamLogs", serialise, plugin_pb2.StreamLogsResponse.FromString
        )
        budget, began = _BYTES_PER_S, self._clock.monotonic()
        with contextlib.suppress(grpc.aio.AioRpcError):  # the process ended
            async for answer in call(plugin_pb2.StreamLogsRequest()):
                if answer is None:
                    return  # no message of the contract
                self._dropped += answer.dropped + max(0, len(answer.lines) - _KEPT)
                for line in answer.lines[:_KEPT]:
                    self._note(line.level, line.message, _fields(line))
                budget -= answer.ByteSize()
                if budget <= 0:
                    await self._clock.sleep(max(0.0, began + 1.0 - self._clock.monotonic()))
                    budget, began = _BYTES_PER_S, self._clock.monotonic()

    def say(self, message: str) -> None:
        """Note what the code says about its settings."""
        self._note("info", message, {})

    def _note(self, level: str, message: str, fields: dict[str, str]) -> None:
        text = self._cut(message)
        self.lines.append(text)
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
            if self._dropped:
                self._log.warning("plug-in wrote too much", lines_left_out=self._dropped)
                self._dropped = 0
        self._in_second += 1
        if self._in_second > _LINES_PER_S:
            self._dropped += 1
            return
        name = level if level in _LEVELS else "error" if level == "critical" else "info"
        present = {f"plugin_{key}": self._cut(value) for key, value in fields.items() if value}
        getattr(self._log, name)(text, **present)

    def _cut(self, text: str) -> str:
        return self.redact(text[:_LOOKED_AT])[:_LONGEST]


def _fields(line: plugin_pb2.PluginLogLine) -> dict[str, str]:
    """Return what belongs to a line; what the code adds cannot take the place of what the contract names."""
    pairs = list(line.fields.fields.items())[:_MOST_FIELDS]
    told = {name[:_LONGEST_NAME]: json.dumps(value_to_plain(value), ensure_ascii=False) for name, value in pairs}
    own = {"logger": line.logger, "place": line.place, "work_id": line.work_id, "traceback": line.traceback}
    return {**told, **own}
