"""One live stream: gathers what the author's code brings, and hands it on in columns every few milliseconds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from quasar import errors
from quasar.convert.columns import BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.model.bars import Bar, BarColumns
from quasar.model.ticks import Tick, TickColumns
from quasar.plugins.batches import LiveBars, LiveBatch, LiveTicks
from quasar.plugins.host.gathering import gather_ticks
from quasar.sdk.notices import ConnectionNotice, GapCause, GapNotice, LiveItem, Notice, RejectedRow, SymbolNotice

_WRONG: Final = (TypeError, ValueError, OverflowError, errors.InvalidArgument)
"""What columns raise for a value of the wrong type."""
_FULL_ROWS: Final = 400
"""Rows that make a message worth its cost."""
_LEAST_S: Final = 0.004
_MOST_ROWS: Final = 400_000
"""Rows that are kept for a slow reader: about 64 MiB. What comes beyond is left out and told as a gap."""


class LiveStream:
    """The sink of one feed."""

    def __init__(
        self,
        tick_ids: Mapping[str, int],
        bar_ids: Mapping[tuple[str, str], int],
        send: Callable[[LiveBatch], Awaitable[None]],
        time_ns: Callable[[], int],
        batch_rows: int,
    ) -> None:
        """Prepare a stream.

        Args:
            tick_ids: The id of each symbol; may change while the stream runs.
            bar_ids: The id of each symbol and interval; may change likewise.
            send: Takes one batch, and waits while the reader is behind.
            time_ns: The time that ticks are stamped with on arrival.
            batch_rows: Rows after which a batch is sent at once.
        """
        self._tick_ids = tick_ids
        self._bar_ids = bar_ids
        self._send = send
        self._time_ns = time_ns
        self._batch_rows = batch_rows
        self._ticks: dict[str, tuple[list[Tick], list[int]]] = {}
        self._parts: list[tuple[str, TickColumns]] = []
        self._bars: list[tuple[str, str, Bar | BarColumns]] = []
        self._notices: list[Notice] = []
        self._sealed: deque[tuple[int, LiveBatch]] = deque()
        """Batches that nothing is added to any more, each with the rows that were put into it."""
        self._sealed_rows = 0
        self._lock = asyncio.Lock()
        self._left_out = 0
        self._unknown = 0
        self._waiting = asyncio.Event()
        self.rows = 0
        """Rows that wait to be sent."""

    def put(self, item: LiveItem) -> None:
        """Take one item of the author's.

        Raises:
            TypeError: It is none of what a live source may bring.
        """
        if type(item) is tuple:
            if self.rows >= _MOST_ROWS:
                self._left_out += 1
                return
            rows = item[-1]
            if type(rows) is Tick:
                symbol = item[0]
                held = self._ticks.get(symbol)
                if held is None:
                    held = self._ticks[symbol] = ([], [])
                held[0].append(rows)
                held[1].append(self._time_ns())
                self.rows += 1
                if self.rows == 1:
                    self._waiting.set()
            else:
                self._put_rest(item)
                self._waiting.set()
        elif isinstance(item, SymbolNotice | ConnectionNotice | GapNotice | RejectedRow):
            if self.rows > self._sealed_rows and not self._is_one_more_refusal(item):
                self._seal()
            self._notices.append(item)
            self._waiting.set()
        else:
            raise TypeError(_FORMS.format(type(item).__name__))

    def _put_rest(self, item: tuple[Any, ...]) -> None:
        rows = item[-1]
        if len(item) == 2 and isinstance(rows, TickColumns):
            self._gather(item[0])
            self._parts.append((item[0], _received(rows, self._time_ns())))
            self.rows += len(rows)
        elif len(item) == 3 and isinstance(rows, Bar | BarColumns):
            self._bars.append((item[0], item[1], rows))
            self.rows += 1 if isinstance(rows, Bar) else len(rows)
        else:
            raise TypeError(_FORMS.format(tuple(type(one).__name__ for one in item)))

    def _is_one_more_refusal(self, notice: Notice) -> bool:
        """Tell whether a row was refused and another one has been already: a vendor may send one in each message."""
        return isinstance(notice, RejectedRow) and any(isinstance(one, RejectedRow) for one in self._notices)

    def _seal(self) -> None:
        """End the present batch.

        A reader applies the notices of a batch before its rows. What came before a notice therefore goes in an earlier
        batch: else the last trades before a break would seem to be the first after it, and what the break hid be lost.
        """
        self._sealed.append((self.rows - self._sealed_rows, self._batch()))
        self._sealed_rows = self.rows

    async def ready(self) -> None:
        """Send what waits when it is a batch; waits itself while the reader is behind."""
        if self.rows >= self._batch_rows:
            await self.flush()

    async def run(self, most_s: float) -> None:
        """Send what comes until cancelled: what comes after a silence at once, what comes quickly in batches.

        A message costs as much processor time as gathering a hundred ticks, so that a batch holds a few hundred where
        waiting for them takes no longer than `most_s`.

        Args:
            most_s: How long rows are gathered at most before they are sent.
        """
        clock = asyncio.get_running_loop().time
        least_s = min(_LEAST_S, most_s)
        last = clock()
        due = last
        while True:
            await self._waiting.wait()
            await asyncio.sleep(max(0.0, due - clock()))
            rows = self.rows
            await self.flush()
            now = clock()
            full_s = _FULL_ROWS * (now - last) / rows if rows else most_s
            last, due = now, now + min(most_s, max(least_s, full_s))

    async def flush(self) -> None:
        """Send what waits."""
        self._waiting.clear()
        async with self._lock:
            if self.rows > self._sealed_rows or self._notices or self._left_out:
                self._seal()
            while self._sealed:
                rows, batch = self._sealed.popleft()
                self.rows -= rows
                self._sealed_rows -= rows
                await self._send(batch)
            if self.rows:
                self._waiting.set()  # came meanwhile, behind what was still to be sent

    def _batch(self) -> LiveBatch:
        for symbol in list(self._ticks):
            self._gather(symbol)
        parts, self._parts = self._parts, []
        bars, self._bars = self._bars, []
        tick_chunks, bar_chunks = list(self._tick_chunks(parts)), list(self._bar_chunks(bars))
        notices, self._notices = self._notices, []  # after the rows, some of which may have been refused
        if self._left_out:
            notices.append(GapNotice(cause=GapCause.OVERLOAD, detail=f"{self._left_out} rows were left out"))
            self._left_out = 0
        if self._unknown:
            detail = f"{self._unknown} rows were for symbols that are not subscribed"
            notices.append(RejectedRow(detail, {}))
            self._unknown = 0
        return LiveBatch(tick_chunks, bar_chunks, notices)

    def _gather(self, symbol: str) -> None:
        """Turn the single ticks of a symbol into columns, so that later columns come after them."""
        held = self._ticks.pop(symbol, None)
        if held is None:
            return
        ticks, received = held
        try:
            columns = gather_ticks(ticks, received)
        except _WRONG:
            columns = self._sorted_out(ticks, received)
        self._parts.append((symbol, columns))

    def _sorted_out(self, ticks: list[Tick], received: list[int]) -> TickColumns:
        good = []
        for tick, time_ns in zip(ticks, received, strict=True):
            try:
                good.append(gather_ticks([tick], [time_ns]))
            except _WRONG as error:
                self._notices.append(RejectedRow(f"a tick has a field of the wrong type: {error}", {"row": repr(tick)}))
        return TickColumns.concatenate(good)

    def _tick_chunks(self, parts: list[tuple[str, TickColumns]]) -> Iterator[LiveTicks]:
        by_symbol: dict[str, list[TickColumns]] = {}
        for symbol, columns in parts:
            by_symbol.setdefault(symbol, []).append(columns)
        for symbol, several in by_symbol.items():
            series_id = self._tick_ids.get(symbol)
            if series_id is None:
                self._unknown += sum(map(len, several))
                continue
            for one_kind in _by_kind(TickColumns.concatenate(several)):
                columns = _ascending(one_kind)
                yield LiveTicks(symbol, series_id, columns, encode_ticks(TickChunk(series_id, columns)))

    def _bar_chunks(self, bars: list[tuple[str, str, Bar | BarColumns]]) -> Iterator[LiveBars]:
        for symbol, interval, rows in bars:
            series_id = self._bar_ids.get((symbol, interval))
            if series_id is None:
                self._unknown += 1
                continue
            try:
                columns = BarColumns.from_bars([rows]) if isinstance(rows, Bar) else rows
            except _WRONG as error:
                self._notices.append(RejectedRow(f"a bar has a field of the wrong type: {error}", {"row": repr(rows)}))
                continue
            yield LiveBars(symbol, interval, series_id, columns, encode_bars(BarChunk(series_id, columns)))


_FORMS: Final = "a live source must bring (symbol, Tick), (symbol, interval, Bar) or a notice, was {}"


def _received(columns: TickColumns, time_ns: Any) -> TickColumns:
    if columns.receive_time_ns is not None:
        return columns
    times = np.broadcast_to(np.asarray(time_ns, dtype=np.int64), (len(columns),))
    present = {name: getattr(columns, name) for name in TickColumns.__slots__}
    return TickColumns(**{**present, "receive_time_ns": times})


def _by_kind(columns: TickColumns) -> Iterator[TickColumns]:
    if columns.kind is None or not len(columns) or (columns.kind == columns.kind[0]).all():
        yield columns
        return
    for kind in np.unique(columns.kind):
        yield columns[columns.kind == kind]


def _ascending(columns: TickColumns) -> TickColumns:
    times = columns.event_time_ns
    if len(times) < 2 or (times[1:] >= times[:-1]).all():
        return columns
    return columns[np.argsort(times, kind="stable")]
