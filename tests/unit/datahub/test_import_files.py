"""Files of bars: whose rows they are, and which cannot be read."""

from __future__ import annotations

import io
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from datahub.reads.files import FileFormat
from datahub.reads.import_files import Block, Layout, blocks, format_of
from datahub.series.series import SeriesName
from quasar.errors import InvalidArgument
from quasar.model.instants import day_ns, ns_date

MINUTES = SeriesName("kraken", "BTC/USD", "1min")
DAYS = SeriesName("eodhd", "AAPL", "1d")


def read(text: str, layout: Layout) -> list[Block]:
    return list(blocks(io.BytesIO(text.encode()), FileFormat.CSV, layout))


def test_rows_are_parted_by_the_series_that_they_name() -> None:
    text = "provider,symbol,interval,open_time,open,high,low,close\n" + "".join(
        f"kraken,{symbol},1min,2026-01-05T10:0{row}:00Z,1,2,1,2\n" for row, symbol in enumerate("ABA")
    )
    (block,) = read(text, Layout())
    assert {rows.name.symbol: rows.numbers.tolist() for rows in block.series} == {"A": [2, 4], "B": [3]}


def test_a_date_is_the_key_of_a_daily_bar_and_no_time_of_a_minute() -> None:
    text = "open_time,open,high,low,close\n2026-01-05,1,2,1,2\n"
    (block,) = read(text, Layout(DAYS, zone=ZoneInfo("America/New_York")))
    assert block.series[0].columns.open_time_ns.tolist() == [day_ns(ns_date(1_767_571_200 * 10**9))]
    (refused,) = read(text, Layout(MINUTES))
    assert [(each.number, each.held.reason) for each in refused.series[0].refused] == [(2, "NAIVE_TIME")]


def test_times_with_different_offsets_are_one_axis() -> None:
    text = "open_time,open,high,low,close\n2026-01-05T10:00:00+01:00,1,2,1,2\n2026-01-05 09:01:00Z,1,2,1,2\n"
    (block,) = read(text, Layout(MINUTES))
    assert np.diff(block.series[0].columns.open_time_ns).tolist() == [60 * 10**9]


def test_a_file_that_lacks_a_column_is_refused_with_what_it_has() -> None:
    with pytest.raises(InvalidArgument, match=r"must have the columns close .* was: open_time, open, high, low"):
        read("open_time,open,high,low\n2026-01-05T10:00:00Z,1,2,1\n", Layout(MINUTES))


@pytest.mark.parametrize(
    ("head", "found"),
    [(b"PAR1\x15\x04", FileFormat.PARQUET), (b"\xff\xff\xff\xff\x10", FileFormat.ARROW), (b"open_t", FileFormat.CSV)],
)
def test_the_format_is_told_from_the_first_bytes(head: bytes, found: FileFormat) -> None:
    assert format_of(head) is found
