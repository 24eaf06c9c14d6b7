from __future__ import annotations

import pytest

from registry.assets.rows import KEPT, RowReader, SourceSymbol


def read(*symbols: SourceSymbol) -> RowReader:
    reader = RowReader()
    reader.read(symbols)
    return reader


@pytest.mark.parametrize(
    "symbol", ["BTC/USD", "two words", "ＡＢＣ中文", "é" * 200, "a'b\"c\\d%_", "$x;--", "\u202eABC", "{}"]
)
def test_symbols_of_any_characters_are_taken_as_they_are(symbol: str) -> None:
    (row,) = RowReader().read([SourceSymbol(symbol)])
    assert row.symbol == symbol
    assert row.root_symbol
    assert row.match_key


@pytest.mark.parametrize(
    ("symbol", "says"),
    [
        (SourceSymbol(""), "must not be blank"),
        (SourceSymbol("  "), "must not be blank"),
        (SourceSymbol("x" * 201), "at most 200 characters, had 201"),
        (SourceSymbol("A\tB"), "control characters"),
        (SourceSymbol("A", asset_class="fut"), "must be one of equity, fund"),
        (SourceSymbol("A", name="Alpha\0Beta"), "name must have no NUL character, was 'Alpha\\x00Beta'"),
        (SourceSymbol("A", exchange="XN\0S"), "exchange must have no NUL character"),
        (SourceSymbol("A", external_id="7" * 3000), "external_id must have at most 200 characters, had 3000"),
        (SourceSymbol("A", matcher_symbol="A" * 201), "matcher_symbol must have at most 200 characters"),
    ],
)
def test_a_bad_row_says_which_field_is_wrong_and_costs_no_other(symbol: SourceSymbol, says: str) -> None:
    reader = RowReader()
    rows = reader.read([SourceSymbol("GOOD"), symbol, SourceSymbol("ALSO GOOD")])
    assert [row.symbol for row in rows] == ["GOOD", "ALSO GOOD"]
    assert reader.rejected == 1
    assert reader.rejections[0].position == 2
    assert says in reader.rejections[0].message


def test_of_rows_with_one_symbol_the_first_is_taken() -> None:
    reader = RowReader()
    (row,) = reader.read([SourceSymbol("A", name="first"), SourceSymbol(" A ", name="second")])
    assert row.name == "first"
    assert "came again" in reader.rejections[0].message


def test_a_refused_symbol_counts_as_mentioned_so_that_it_does_not_vanish() -> None:
    assert read(SourceSymbol("A", asset_class="nonsense")).mentioned == {"A"}


def test_an_identifier_that_is_none_does_not_cost_its_row() -> None:
    reader = RowReader()
    rows = reader.read([SourceSymbol("A", primary_id="12345"), SourceSymbol("B", primary_id="bbg000b9xry4")])
    assert [row.source_identity for row in rows] == ["", "BBG000B9XRY4"]
    assert (reader.strange_ids, reader.strange_id) == (1, "12345")


def test_a_long_name_is_cut_and_an_identifier_of_any_length_costs_no_row() -> None:
    (row,) = RowReader().read([SourceSymbol("A", name="n" * 700, primary_id="x\0" * 700)])
    assert (len(row.name), row.source_identity) == (500, "")


def test_a_report_holds_the_first_thousand_refused_rows_and_counts_all() -> None:
    reader = read(*(SourceSymbol("") for _ in range(KEPT + 5)))
    assert len(reader.rejections) == KEPT
    assert reader.rejected == KEPT + 5


def test_what_a_source_does_not_tell_stays_empty() -> None:
    (row,) = RowReader().read([SourceSymbol("A")])
    assert row.matcher_symbol == "A"
    assert (row.asset_class, row.identity_group, row.exchange, row.price_increment) == ("", "", "", None)
