"""Bars of long ago are corrected like any others, also where TimescaleDB has compressed them."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np

from datahub.ingest.delivery import Delivery
from quasar.model.bars import BarColumns
from quasar.model.instants import NS_PER_MINUTE, TimeRange
from tests.contract.storage.test_coarser_reads import MINUTE, MONDAY, Store, store
from tests.contract.storage.test_storage import BARS, DAY, subject

__all__ = ["store", "subject"]

COUNT = 130_000
"""More than TimescaleDB takes out of compressed rows in one transaction of its own accord."""


async def test_more_compressed_bars_than_a_transaction_may_touch_are_revised(store: Store) -> None:
    series = await store.series("A", "24/7")
    start = int((MONDAY - 90 * DAY).timestamp()) * 1_000_000_000
    times = start + np.arange(COUNT, dtype=np.int64) * NS_PER_MINUTE
    price = np.full(COUNT, 5.0)
    bars = BarColumns(times, *[price] * 5)
    await store.put(series, bars)
    if not store.subject.native:
        await store.subject.storage.set_compression(BARS, 60 * DAY)
        await store.as_owner("select compress_chunk(c) from show_chunks('datahub.historical_data') c")
    await store.clock.advance(60)
    revised = dataclasses.replace(bars, close=price + (np.arange(COUNT) % 3) / 8, high=price + 1)
    span = TimeRange(start, start + COUNT * NS_PER_MINUTE)
    counts = await store.writer.store(Delivery(series=series, columns=revised, answered=span))
    assert (counts.updated, counts.inserted) == (COUNT, 0)
    again = await store.writer.store(Delivery(series=series, columns=revised, answered=span))
    assert (again.updated, again.unchanged) == (0, COUNT)
    read = await store.read(series, MINUTE, span)
    assert read.close.tolist() == revised.close.tolist()
    before = await store.read(series, MINUTE, span, as_of=store.clock.now() - dt.timedelta(seconds=30))
    assert before.close.tolist() == price.tolist()
