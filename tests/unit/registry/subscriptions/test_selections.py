from __future__ import annotations

import pytest

from registry.subscriptions.selections import AssetCondition, Selection, SelectionKind


def symbols(*names: str) -> Selection:
    return Selection(SelectionKind.SYMBOLS, names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (symbols("A", "B"), symbols("B", "A")),
        (symbols("A"), Selection(SelectionKind.SYMBOL, ("A",))),
        (Selection(SelectionKind.COMMON_SYMBOL, ("btc",)), Selection(SelectionKind.COMMON_SYMBOLS, ("BTC",))),
        (Selection(SelectionKind.INDEX, ("CCI30",)), Selection(SelectionKind.INDEX, ("cci30",))),
        (
            Selection(SelectionKind.ASSETS, assets=AssetCondition(exchanges=("XNAS", "XNYS"))),
            Selection(SelectionKind.ASSETS, assets=AssetCondition(exchanges=("XNYS", "XNAS"), filter=" ")),
        ),
    ],
)
def test_selections_that_cover_the_same_have_equal_keys(one: Selection, other: Selection) -> None:
    assert one.key == other.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (symbols("a"), symbols("A")),
        (symbols("BTC"), Selection(SelectionKind.COMMON_SYMBOL, ("BTC",))),
        (symbols("A", "B"), symbols("A,B")),
        (
            Selection(SelectionKind.ASSETS, assets=AssetCondition(exchanges=("X",))),
            Selection(SelectionKind.ASSETS, assets=AssetCondition(quote_currencies=("X",))),
        ),
    ],
)
def test_selections_that_differ_have_different_keys(one: Selection, other: Selection) -> None:
    assert one.key != other.key


@pytest.mark.parametrize(
    "selection",
    [
        Selection(SelectionKind.SYMBOL, ("BTC/USD",)),
        symbols("A", "B"),
        Selection(SelectionKind.INDEX, ("cci30",)),
        Selection(SelectionKind.ASSETS, assets=AssetCondition(("equity",), ("XNAS",), (), 'name:"x"')),
    ],
)
def test_a_selection_is_read_as_it_was_stored(selection: Selection) -> None:
    assert Selection.of(selection.document()) == selection


def test_a_long_list_has_a_short_label() -> None:
    assert len(symbols(*(f"SYMBOL{number}" for number in range(500))).label) == 200
