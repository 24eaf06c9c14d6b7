from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasar.errors import InvalidArgument
from registry.identities.files import ManifestFile, format_of, read_manifest
from registry.identities.rows import ManifestReader
from registry.identities.uploads import contiguous
from tests.unit.registry.recorded_identity import equities_file, market_codes

CSV = b"""figi,symbol,name,mic,class
BBG000B9XRY4,AAPL,Apple Inc.,XNAS,equity
BBG000B9XRY5,AAPX,Wrong digit,XNAS,equity
,MSFT,No number,XNAS,equity
BBG000BPH459,MSFT,"Microsoft, Corp",XNAS,stock
"""


def read(file: ManifestFile, default_class: str = "") -> ManifestReader:
    reader = ManifestReader(default_class)
    reader.take(file.entries)
    for line, message in file.bad_lines:
        reader.refuse(line, message)
    return reader


def test_bad_rows_are_reported_by_line_and_do_not_cost_the_good_ones() -> None:
    reader = read(read_manifest(CSV, "CSV", {}))
    assert [row.symbol for row in reader.rows] == ["AAPL", "MSFT"]
    assert [(each.line, each.field, each.message) for each in reader.rejections] == [
        (3, "figi", "check digit must be 4, was 5"),
        (4, "", "must have a FIGI or an ISIN"),
    ]


def test_a_line_is_counted_by_the_file_and_not_by_the_row() -> None:
    content = b'figi,symbol,name,class\nBBG000B9XRY4,AAPL,"two\nlines",equity\nX,Y,Z,equity\n'
    reader = read(read_manifest(content, "CSV", {}))
    assert [each.line for each in reader.rejections] == [4]


def test_a_gzip_file_with_a_byte_order_mark_is_read() -> None:
    assert len(read(read_manifest(gzip.compress(b"\xef\xbb\xbf" + CSV), "CSV", {})).rows) == 2


def test_yaml_takes_aliases_as_text_or_as_a_list_and_null_as_not_known() -> None:
    content = b"""
- {symbol: "BTC;XBT", figi: KKG00000DV14, class: crypto, exchange: null}
- symbol: [ETH, XETH]
  isin: US0378331005
  class: crypto
- just a text
"""
    reader = read(read_manifest(content, "YAML", {}))
    assert [(row.symbol, row.aliases, row.exchange) for row in reader.rows] == [
        ("BTC", ["XBT"], ""),
        ("ETH", ["XETH"], ""),
    ]
    assert [(each.line, each.message) for each in reader.rejections] == [(6, "must be a mapping")]


def test_parquet_is_read_by_column_and_reported_by_row() -> None:
    table = pa.table({"symbol": ["AAPL", None], "figi": ["BBG000B9XRY4"] * 2, "class": ["equity"] * 2, "extra": [1, 2]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    file = read_manifest(buffer.getvalue(), "PARQUET", {})
    reader = read(file)
    assert file.unknown_columns == ["extra"]
    assert [row.symbol for row in reader.rows] == ["AAPL"]
    assert [(each.line, each.field) for each in reader.rejections] == [(2, "symbol")]


def test_columns_with_other_names_are_read_where_the_import_says_so() -> None:
    content = b"ticker,id,kind\nAAPL,BBG000B9XRY4,Common Stock\n"
    reader = read(read_manifest(content, "CSV", {"symbol": "ticker", "figi": "id", "class": "kind"}))
    assert [(row.symbol, row.figi, row.asset_class) for row in reader.rows] == [("AAPL", "BBG000B9XRY4", "equity")]


@pytest.mark.parametrize(
    ("content", "kind", "columns", "says"),
    [
        (b"", "CSV", {}, "header line"),
        (b"a,b\n1,2\n", "CSV", {}, "must have a column 'symbol'"),
        (b"\xff\xfe", "CSV", {}, "byte 0 is no UTF-8"),
        (b"\x1f\x8bnonsense", "CSV", {}, "gzip cannot be read"),
        (b"a: [", "YAML", {}, "no YAML"),
        (b"a: 1", "YAML", {}, "list of mappings"),
        (b"PAR1", "PARQUET", {}, "no Parquet"),
        (CSV, "CSV", {"symbol": "nowhere"}, "must name columns of the file"),
        (CSV, "CSV", {"price": "symbol"}, "must name fields among"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, kind: str, columns: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read(read_manifest(content, kind, columns))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.csv", "CSV"), ("A.CSV.GZ", "CSV"), ("x.yml", "YAML"), ("x.parquet", "PARQUET")]
)
def test_the_format_is_told_from_the_name(name: str, kind: str) -> None:
    assert format_of(name) == kind


def test_a_name_without_a_known_ending_needs_a_format() -> None:
    with pytest.raises(InvalidArgument, match="must be set, or the file name must end in"):
        format_of("identities.txt")
    assert format_of("identities.txt", "CSV") == "CSV"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("BBG000B9XRY4,A,,XN,equity,,", "exchange"),
        ("BBG000B9XRY4,A,,XNAS,fut,,", "class"),
        ("BBG000B9XRY4,A,,XNAS,commodity,,", "class"),
        ("BBG000B9XRY4,A,,XNAS,,,", "class"),
        ("BBG000B9XRY4,A,,XNAS,equity,2026-02-30,", "valid_from"),
        ("BBG000B9XRY4,A,,XNAS,equity,2026-01-02,2026-01-02", "valid_to"),
        ("BBG000B9XRY4,,,XNAS,equity,,", "symbol"),
    ],
)
def test_the_refused_field_is_named(line: str, field: str) -> None:
    header = "figi,symbol,name,mic,class,valid_from,valid_to\n"
    reader = read(read_manifest((header + line).encode(), "CSV", {}))
    assert [each.field for each in reader.rejections] == [field]


def test_a_second_row_with_the_same_key_names_the_first() -> None:
    line = "BBG000B9XRY4,A,equity\n"
    reader = read(read_manifest(f"figi,symbol,class\n{line}{line}".encode(), "CSV", {}))
    assert [(each.line, each.message) for each in reader.rejections] == [
        (3, "must be there once, was in line 2 already")
    ]


def test_the_identity_is_the_figi_or_else_the_isin_with_the_exchange() -> None:
    content = (
        b"figi,isin,share_class_figi,mic,symbol,class\n"
        b"BBG000B9XRY4,US0378331005,,XNAS,A,equity\n,US0378331005,,XETR,B,equity\n,US0378331005,,,C,equity\n"
        b",,BBG001S5N8V8,XLON,D,equity\n"
    )
    rows = read(read_manifest(content, "CSV", {})).rows
    assert [row.identity_id for row in rows] == [
        "BBG000B9XRY4",
        "US0378331005@XETR",
        "US0378331005",
        "BBG001S5N8V8@XLON",
    ]


def test_the_recorded_equities_are_read() -> None:
    file = read_manifest(equities_file(), "CSV", {})
    reader = read(file, "equity")
    assert reader.read == 19_508
    assert {each.message for each in reader.rejections} == {"must have a FIGI or an ISIN"}
    assert len(reader.rows) == 10_586
    assert {row.exchange for row in reader.rows} <= set(market_codes())


def test_every_market_code_of_the_iso_list_is_taken() -> None:
    lines = "\n".join(f"BBG000B9XRY4,{mic},equity,{mic}" for mic in market_codes())
    reader = read(read_manifest(f"figi,symbol,class,mic\n{lines}".encode(), "CSV", {}))
    assert (len(reader.rows), reader.rejections) == (2733, [])


@pytest.mark.parametrize(
    ("extents", "reached"),
    [([], 0), ([(1, 5)], 0), ([(0, 4), (4, 2)], 6), ([(0, 4), (2, 1), (5, 9)], 4), ([(0, 9), (3, 2)], 9)],
)
def test_an_upload_goes_on_where_the_first_hole_is(extents: list[tuple[int, int]], reached: int) -> None:
    assert contiguous(extents) == reached


def test_yaml_that_unfolds_without_end_or_has_lists_for_names_is_read_as_far_as_it_means_something() -> None:
    layers = "".join(f"- &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 40))
    content = f"""
- &l0 [A, B]
{layers}- symbol: [BTC, *l39]
  figi: KKG00000DV14
  class: crypto
  ? [a, b]
  : c
- symbol: &again [ETH, *again]
  isin: US0378331005
  class: crypto
"""
    reader = read(read_manifest(content.encode(), "YAML", {}))
    assert [(row.symbol, row.aliases) for row in reader.rows] == [("BTC", []), ("ETH", [])]
