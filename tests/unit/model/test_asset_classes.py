from __future__ import annotations

import pytest

from quasar.errors import InvalidArgument
from quasar.model.asset_classes import (
    ALIASES,
    AssetClass,
    AssetGroup,
    group_of,
    normalise_asset_class,
    parse_asset_class,
)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (" Fx ", "currency"),
        ("stock", "equity"),
        ("PERP", "future"),
        ("bond_etf", "etf"),
        ("mmf", "money_market"),
        ("adr_pref", "preferred"),
        ("Common Stock", "equity"),
        ("mutual-fund", "mutual_fund"),
        ("CRYPTO", "crypto"),
    ],
)
def test_what_vendors_write_becomes_the_canonical_class(written: str, canonical: str) -> None:
    assert normalise_asset_class(written) == canonical
    assert parse_asset_class(written) is AssetClass(canonical)


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_a_blank_class_is_no_class(blank: str | None) -> None:
    assert normalise_asset_class(blank) is None
    assert parse_asset_class(blank) is None


def test_an_unknown_class_passes_through_in_lower_case_and_is_refused_where_it_counts() -> None:
    assert normalise_asset_class("FUT") == "fut"
    with pytest.raises(InvalidArgument, match=r"asset_class must be one of equity, .*, was 'FUT'") as caught:
        parse_asset_class("FUT")
    assert caught.value.violations[0].field == "asset_class"


def test_there_are_twenty_one_classes_and_every_alias_leads_to_one_without_hiding_another() -> None:
    assert len(AssetClass) == 21
    assert not set(ALIASES) & set(AssetClass)


@pytest.mark.parametrize(
    ("asset_class", "group"),
    [
        (AssetClass.CRYPTO, AssetGroup.CRYPTO),
        (AssetClass.ADR, AssetGroup.SECURITIES),
        (AssetClass.INDEX, AssetGroup.SECURITIES),
        (AssetClass.CURRENCY, None),
        (AssetClass.FUTURE, None),
        (None, None),
    ],
)
def test_only_crypto_and_securities_can_be_identified(asset_class: AssetClass | None, group: AssetGroup | None) -> None:
    assert group_of(asset_class) is group
