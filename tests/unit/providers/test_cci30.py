from __future__ import annotations

import datetime as dt
import math

import pytest

from quasar import errors
from quasar.provider import AssetClass, Unsupported
from quasar.providers.cci30 import Cci30, parse_constituents
from quasar.testing.cci30_server import MEMBERS, _table


def page(*rows: tuple[str, str]) -> str:
    cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<table><tr><th>Name</th><th>Market cap</th></tr>{cells}</table>"


def test_weights_are_those_of_the_square_roots_and_make_one() -> None:
    members = parse_constituents(_table(list(MEMBERS.items())))
    assert [member.symbol for member in members] == list(MEMBERS)
    assert sum(member.weight or 0.0 for member in members) == pytest.approx(1.0)
    btc, eth = members[0].weight or 0.0, members[1].weight or 0.0
    assert btc / eth == pytest.approx(math.sqrt(1_600 / 400))
    assert members[0].asset_class is AssetClass.CRYPTO
    assert (members[5].symbol, members[5].name) == ("1INCH", "1inch Network")


def test_a_name_in_capitals_is_not_taken_for_the_symbol() -> None:
    (member,) = parse_constituents(page(("UNUS SED LEO LEO", "$5,000,000.50")))
    assert (member.symbol, member.name, member.weight) == ("LEO", "UNUS SED LEO", 1.0)


def test_several_tables_are_one_index_and_other_tables_are_left_out() -> None:
    html = page(("Bitcoin BTC", "$4")) + "<table><tr><th>Date</th></tr><tr><td>1 BTC</td></tr></table>"
    html += page(("Ethereum <b>ETH</b>", "$1"))
    members = parse_constituents(html)
    assert [member.symbol for member in members] == ["BTC", "ETH"]
    weights = [member.weight or 0.0 for member in members]
    assert weights == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(
    "html", ["", "<p>maintenance</p>", page(), page(("Bitcoin BTC", "n/a")), page(("bitcoin", "$1"))]
)
def test_a_page_that_cannot_be_read_is_no_empty_index(html: str) -> None:
    """An index that lost all members would close them all in the registry."""
    with pytest.raises(errors.VendorFailed):
        parse_constituents(html)


async def test_only_the_members_of_today_are_known() -> None:
    with pytest.raises(Unsupported, match="2020-01-01"):
        await Cci30().constituents("CCI30", dt.date(2020, 1, 1))
    with pytest.raises(errors.NotFound, match="must be CCI30"):
        await Cci30().constituents("SP500", None)
