"""Files are read in bounded memory, however large they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024
READER = '''
import sys
from pathlib import Path

from datahub.reads.files import FileFormat
from datahub.reads.import_files import Layout, blocks
from datahub.series.series import SeriesName

LAYOUT = Layout(SeriesName("steady", "A", "1min"))


def private_bytes():
    """What the process keeps for itself: pages of a mapped file, which the system may drop at any time, apart."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no RssAnon")


def most(path):
    """Return the most memory that was in use while a file was read, and its rows."""
    rows = peak = 0
    with open(path, "rb") as file:
        for block in blocks(file, FileFormat[sys.argv[1]], LAYOUT):
            rows += block.rows
            peak = max(peak, private_bytes())
    return peak, rows


small, _ = most(sys.argv[2])  # loads what reading needs
large, rows = most(sys.argv[3])
print(rows, large - small)
'''
WRITER = """
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

kind, path, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
times = 1_700_000_040_000_000 + np.arange(rows, dtype=np.int64) * 60_000_000
chance = np.random.default_rng(1)
columns = {name: chance.uniform(99.0, 101.0, rows) for name in ("open", "high", "low", "close", "volume")}
table = pa.table({"open_time": pa.array(times, pa.timestamp("us", "UTC")), **columns})
if kind == "CSV":
    csv.write_csv(table, path)
elif kind == "PARQUET":
    parquet.write_table(table, path, row_group_size=rows)  # one group that holds everything
else:
    with pa.ipc.new_stream(path, table.schema) as out:
        out.write_batch(table.combine_chunks().to_batches()[0])  # one batch that holds everything
"""


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from /proc")
@pytest.mark.parametrize(("kind", "rows"), [("CSV", 400_000), ("PARQUET", 2_000_000), ("ARROW", 2_000_000)])
def test_a_large_file_is_read_in_little_memory(kind: str, rows: int, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for path, count in ((small, 60_000), (large, rows)):
        subprocess.run([sys.executable, "-c", WRITER, kind, path, str(count)], check=True)
    size = large.stat().st_size
    answer = subprocess.run(
        [sys.executable, "-c", READER, kind, small, large], check=True, capture_output=True, text=True, cwd=ROOT
    )
    read, grown = (int(number) for number in answer.stdout.split())
    assert read == rows
    assert size > 38 * MIB, "the file must be too large to be held"
    assert grown < 32 * MIB, f"reading {size / MIB:.0f} MiB took {grown / MIB:.0f} MiB more than reading a small file"
