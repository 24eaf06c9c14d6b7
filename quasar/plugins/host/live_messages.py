"""The messages of one live stream: batches, numbered, as the contract has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from quasar import errors
from quasar.convert.plugin_batches import LIVE_BARS, LIVE_TICKS, joined
from quasar.convert.plugin_rows import rejected_to_proto
from quasar.plugins.batches import LiveBatch
from quasar.rpc.errors import to_status
from quasar.sdk.notices import ConnectionNotice, GapNotice, Notice, SymbolNotice
from quasar_proto.plugin.v1 import provider_pb2


class LiveMessages:
    """Writes batches."""

    def __init__(
        self,
        tick_ids: Mapping[str, int],
        bar_ids: Mapping[tuple[str, str], int],
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Begin a stream.

        Args:
            tick_ids: The id of each symbol; may change while the stream runs.
            bar_ids: The id of each symbol and interval; may change likewise.
            write: Sends one message.
        """
        self._tick_ids = tick_ids
        self._bar_ids = bar_ids
        self._write = write
        self._sequence = 0

    async def send(self, batch: LiveBatch) -> None:
        """Send one batch."""
        self._sequence += 1
        rest = provider_pb2.StreamLiveResponse(sequence=self._sequence)
        for notice in batch.notices:
            self._tell(rest, notice)
        chunks = [(LIVE_TICKS, ticks.encoded) for ticks in batch.tick_chunks]
        chunks += [(LIVE_BARS, bars.encoded) for bars in batch.bar_chunks]
        await self._write(joined(chunks, rest))

    def _id_of(self, symbol: str) -> int:
        own = self._tick_ids.get(symbol)
        if own is not None:
            return own
        return next((number for (name, _), number in self._bar_ids.items() if name == symbol), 0)

    def _tell(self, rest: provider_pb2.StreamLiveResponse, notice: Notice) -> None:
        if isinstance(notice, SymbolNotice):
            rest.symbols.add(
                series_id=self._id_of(notice.symbol),
                state=int(notice.state),
                message=notice.message[:500],
            )
        elif isinstance(notice, ConnectionNotice):
            _tell_connection(rest, notice)
        elif isinstance(notice, GapNotice):
            rest.gaps.add(
                series_id=self._id_of(notice.symbol) if notice.symbol else 0,
                start_time_ns=notice.start_ns,
                end_time_ns=notice.end_ns,
                cause=int(notice.cause),
                detail=notice.detail[:500],
                last_trade_id=-1 if notice.last_trade_id is None else notice.last_trade_id,
            )
        else:
            rest.rejected.append(rejected_to_proto(notice, self._id_of(notice.symbol) if notice.symbol else 0))


def _tell_connection(rest: provider_pb2.StreamLiveResponse, notice: ConnectionNotice) -> None:
    told = rest.connections.add(
        state=int(notice.state),
        connection=notice.connection,
        host=notice.host,
        last_receive_time_ns=notice.last_receive_ns,
        next_attempt_time_ns=notice.next_attempt_ns,
        bytes_received=notice.bytes_received,
    )
    if notice.ping_s is not None:
        told.ping.FromNanoseconds(int(notice.ping_s * 1e9))
    if notice.error:
        told.error.CopyFrom(to_status(errors.VendorFailed(notice.error), ""))
