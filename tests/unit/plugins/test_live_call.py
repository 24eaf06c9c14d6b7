"""What a service takes from the messages of a live call, also from a plug-in with a newer contract."""

from __future__ import annotations

import numpy as np

from quasar.convert.columns import TickChunk, encode_ticks
from quasar.convert.plugin_batches import LIVE_TICKS, joined
from quasar.model.ticks import TickColumns, TickKind
from quasar.plugins.live_call import decode
from quasar_proto.plugin.v1 import provider_pb2

NAMES = {1: ("A", ""), 2: ("B", ""), 3: ("A", "1min")}
UNKNOWN = 1 + max(TickKind)


def chunk(series_id: int, kind: int | None) -> tuple[int, bytes]:
    """Return two ticks of a kind, None: trades that do not say so."""
    kinds = None if kind is None else np.full(2, kind, np.uint8)
    return LIVE_TICKS, encode_ticks(TickChunk(series_id, TickColumns(np.array([10, 11]), price=np.ones(2), kind=kinds)))


def test_ticks_of_kinds_and_series_that_are_unknown_are_left_out_and_the_rest_of_the_message_is_taken() -> None:
    rest = provider_pb2.StreamLiveResponse()
    rest.symbols.add(series_id=2, state=provider_pb2.SYMBOL_REPORT_STATE_SUBSCRIBED)
    message = joined(
        [
            chunk(1, UNKNOWN),
            chunk(1, None),
            chunk(2, TickKind.QUOTE),
            chunk(2, 0),
            chunk(9, TickKind.TRADE),
            chunk(3, TickKind.TRADE),
            chunk(1, TickKind.BOOK_TOP),
        ],
        rest,
    )
    batch = decode(message, NAMES)
    taken = [(one.symbol, one.kind) for one in batch.tick_chunks]
    assert taken == [("A", TickKind.TRADE), ("B", TickKind.QUOTE), ("A", TickKind.BOOK_TOP)]
    assert len(batch.notices) == 1
