from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.intervals import Interval
from quasar.model.series import SeriesKey


@given(st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip())))
def test_a_series_with_any_symbol_survives_its_written_form(symbol: str) -> None:
    key = SeriesKey("kraken", symbol, Interval.parse("5min"))
    assert SeriesKey.parse(str(key)) == key


def test_aliases_in_the_written_form_are_normalised() -> None:
    assert str(SeriesKey.parse("kraken:BTC/USD@1m")) == "kraken:BTC/USD@1min"


@pytest.mark.parametrize(
    "text", ["kraken", "kraken:BTC/USD", "BTC/USD@1min", ":BTC@1min", "kraken:@1min", "kraken:BTC@soon"]
)
def test_an_incomplete_series_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be"):
        SeriesKey.parse(text)
