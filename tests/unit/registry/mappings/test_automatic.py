from __future__ import annotations

import itertools
from typing import Any

import pytest

from registry.assets.groups import CRYPTO, SECURITIES
from registry.mappings.automatic import Change, Holder, MappableAsset, Standing, plan

_NUMBERS = itertools.count(1)


def asset(
    symbol: str, root: str, identity: str, source: int = 1, group: str = SECURITIES, **more: Any
) -> MappableAsset:
    return MappableAsset(
        asset_id=next(_NUMBERS),
        code_id=source,
        source_kind="provider",
        source_name=f"p{source}",
        symbol=symbol,
        root=root,
        group=group,
        identity=identity,
        **more,
    )


def after(changes: list[Change]) -> dict[str, str]:
    return {change.asset.symbol: change.after for change in changes}


def outcomes(changes: list[Change]) -> dict[str, str]:
    return {change.asset.symbol: change.outcome for change in changes}


def test_the_common_symbol_is_the_root_in_upper_case() -> None:
    assert after(plan([asset("AAPL.US", "aapl", "F1")], Standing(), remap=False)) == {"AAPL.US": "AAPL"}


def test_what_the_identity_is_called_elsewhere_is_used_again() -> None:
    standing = Standing(names={"F1": ["AAPL_COMMON"]})
    assert after(plan([asset("AAPL.US", "aapl", "F1")], standing, remap=False)) == {"AAPL.US": "AAPL_COMMON"}


def test_a_symbol_that_another_identity_has_gets_the_identity_behind_it() -> None:
    standing = Standing(holders={"btc": [Holder(2, 99, "KKG00000DV14")]}, spelling={"btc": "BTC"})
    changes = plan(
        [asset("BTC.X", "btc", "BBG000XYZ123"), asset("ETH.X", "eth", "BBG000ETH123")], standing, remap=False
    )
    assert after(changes) == {"BTC.X": "BTC:BBG000XYZ123", "ETH.X": "ETH"}


def test_two_identities_of_one_root_in_one_run_get_two_symbols() -> None:
    changes = plan([asset("BRK.A.US", "brk", "FA"), asset("BRK.B.US", "brk", "FB")], Standing(), remap=False)
    assert after(changes) == {"BRK.A.US": "BRK", "BRK.B.US": "BRK:FB"}


def test_the_outcome_does_not_depend_on_the_order_of_the_assets() -> None:
    assets = [
        asset("BTCUSD", "btcusd", "K1", 1, CRYPTO, quote="USD"),
        asset("XBT/USD", "btc", "K1", 2, CRYPTO, quote="USD"),
        asset("BRK.A", "brk", "FA", 1),
        asset("BRK.B", "brk", "FB", 2),
    ]
    expected = {"BTCUSD": "BTC", "XBT/USD": "BTC", "BRK.A": "BRK", "BRK.B": "BRK:FB"}
    for order in itertools.permutations(assets):
        assert after(plan(order, Standing(), remap=False)) == expected


def test_roots_of_sources_outside_the_scope_count_too() -> None:
    standing = Standing(roots={"K1": "btc"})
    assert after(plan([asset("BTCUSD", "btcusd", "K1", group=CRYPTO)], standing, remap=False)) == {"BTCUSD": "BTC"}


@pytest.mark.parametrize(
    ("quotes", "preferred", "chosen"),
    [
        (["EUR", "USD"], "", "BTC/USD"),
        (["EUR", "GBP"], "", None),
        (["EUR", "USD"], "EUR", "BTC/EUR"),
        (["EUR", "USDT"], "", "BTC/USDT"),
        (["USDC", "USD", "USDT"], "", "BTC/USD"),
        (["EUR"], "", "BTC/EUR"),
        (["EUR", "EUR"], "USD", "BTC/EUR"),
        ([""], "", "BTC/"),
    ],
)
def test_of_a_sources_pairs_one_stands_for_the_asset(quotes: list[str], preferred: str, chosen: str | None) -> None:
    assets = [asset(f"BTC/{quote}", "btc", "K1", group=CRYPTO, quote=quote) for quote in dict.fromkeys(quotes)]
    assets += [asset("BTC/EUR2", "btc", "K1", group=CRYPTO, quote="EUR")] if quotes == ["EUR", "EUR"] else []
    changes = plan(assets, Standing(preferred={1: preferred}), remap=False)
    assert [change.asset.symbol for change in changes if change.after] == ([chosen] if chosen else [])
    assert {change.after for change in changes if change.after} <= {"BTC"}
    assert all(change.reason for change in changes)


def test_existing_mappings_are_not_changed() -> None:
    mapped = asset("AAPL.US", "aapl", "F1", common_symbol="MINE", origin="AUTOMATIC")
    assert outcomes(plan([mapped], Standing(), remap=False)) == {"AAPL.US": "UNCHANGED"}


def test_an_asset_without_an_identity_is_left_alone() -> None:
    assert outcomes(plan([asset("X", "x", "")], Standing(), remap=False)) == {"X": "SKIPPED"}


def test_a_source_gets_one_asset_for_a_common_symbol() -> None:
    changes = plan([asset("SAP.DE", "sap", "F1"), asset("SAP.F", "sap", "F1")], Standing(), remap=False)
    assert outcomes(changes) == {"SAP.F": "CREATED", "SAP.DE": "SKIPPED"}


def test_a_remap_corrects_automatic_names_and_keeps_those_made_by_hand() -> None:
    wrong = asset("AAPL.US", "aapl", "F1", common_symbol="WRONGNAME", origin="AUTOMATIC", active=False)
    manual = asset("MSFT.US", "msft", "", common_symbol="MY_MSFT", origin="MANUAL")
    suggested = asset("IBM.US", "ibm", "F3", common_symbol="BIG_BLUE", origin="SUGGESTED")
    lost = asset("GONE.US", "gone", "", common_symbol="GONE", origin="AUTOMATIC")
    changes = plan([wrong, manual, suggested, lost], Standing(), remap=True)
    assert outcomes(changes) == {
        "AAPL.US": "CHANGED",
        "MSFT.US": "KEPT_MANUAL",
        "IBM.US": "KEPT_MANUAL",
        "GONE.US": "REMOVED",
    }
    assert after(changes)["AAPL.US"] == "AAPL"


def test_a_name_that_would_be_too_long_fails_with_a_reason() -> None:
    (change,) = plan(
        [asset("X", "x" * 195, "IDENTITY")], Standing(holders={"x" * 195: [Holder(2, 9, "O")]}), remap=False
    )
    assert change.outcome == "FAILED"
    assert "at most 200 characters" in change.reason
