from __future__ import annotations

import pytest

from registry.assets.symbols import full_symbol, identity_key, match_key, name_key, root_symbol


@pytest.mark.parametrize(
    ("symbol", "asset_class", "base", "quote", "root"),
    [
        ("AAPL.US", "equity", "", "", "aapl"),
        ("AAPL", "equity", "", "", "aapl"),
        ("0A05.L", "equity", "", "", "0a05"),
        ("BRK.A.US", "equity", "", "", "brk.a"),
        ("BRK-B", "equity", "", "", "brk.b"),
        ("BRK/B", "equity", "", "", "brk.b"),
        ("XBT/USD", "crypto", "XBT", "USD", "btc"),
        ("XBT/USD", "", "", "", "btc"),
        ("BTC-USD.CC", "crypto", "BTC", "USD", "btc"),
        ("XDG/USD", "crypto", "", "", "doge"),
        ("XBTUSD", "crypto", "", "USD", "btc"),
        ("EURUSD.FOREX", "currency", "EUR", "USD", "eurusd"),
        ("EUR/USD", "currency", "", "", "eurusd"),
        ("ＡＢＣ", "equity", "", "", "ａｂｃ"),
        ("...", "equity", "", "", "..."),
    ],
)
def test_the_root_is_what_sources_have_in_common(
    symbol: str, asset_class: str, base: str, quote: str, root: str
) -> None:
    assert root_symbol(symbol, asset_class, base, quote) == root


def test_two_classes_of_shares_have_two_roots() -> None:
    roots = {root_symbol(f"BRK.{share}.US", "equity", "", "") for share in "AB"}
    assert roots == {"brk.a", "brk.b"}


def test_full_symbols_are_equal_whatever_separates_the_parts_of_a_pair() -> None:
    assert {full_symbol(s) for s in ("BTC/USD", "XBT/USD", "BTC-USD.CC", "BTCUSD")} == {"btcusd"}


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("xbt", "", "crypto", "", ""), "BTC"),
        (("BTC/USD", "", "crypto", "BTC", "USD"), "BTC"),
        (("PF_XBTUSD", "XBT", "crypto", "", ""), "BTC"),
        (("abc", "", "equity", "", ""), "ABC"),
        (("ABC.US", "ABC", "equity", "", ""), "ABC"),
        (("EUR/USD", "", "currency", "EUR", "USD"), "EURUSD"),
    ],
)
def test_the_match_key_is_the_hint_or_what_the_class_is_identified_by(arguments: tuple[str, ...], key: str) -> None:
    assert match_key(*arguments) == key


def test_currency_pairs_of_a_manifest_match_with_or_without_a_separator() -> None:
    assert identity_key("EUR/USD", "currency") == identity_key("EURUSD", "currency") == "EURUSD"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Apple Inc.", "apple inc."),
        ("Société Générale", "societe generale"),
        ("Nestlé S.A.", "nestle s a"),
        ("中国平安", "x4e2d x56fd x5e73 x5b89".replace(" ", "")),
        ("", ""),
    ],
)
def test_names_are_folded_to_what_every_database_takes_for_letters(name: str, key: str) -> None:
    assert name_key(name) == key
    assert name_key(name).isascii()
