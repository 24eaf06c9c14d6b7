from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from quasar import errors
from quasar.model.instants import TimeRange
from quasar.model.intervals import Interval
from quasar.provider import Context, Instrument, Side, Throttled, TickRequest, Unauthorised, UnknownSymbol
from quasar.providers.databento import Databento, _at, _judged, _stretches, bars_of, trades_of
from tests.unit.recorded import recorded

MINUTE = Interval.parse("1min")
MINUTE_NS = 60_000_000_000
UNDEFINED = (1 << 63) - 1
BAR = [("ts_event", "<u8"), ("publisher_id", "<u2"), *((n, "<i8") for n in ("open", "high", "low", "close", "volume"))]


def rows(*values: tuple[int, ...]) -> Any:
    return np.array(list(values), dtype=BAR)


def store(name: str) -> Any:
    import databento

    return databento.DBNStore.from_bytes(recorded(f"databento/test_data.{name}.dbn.zst").read_bytes()).to_ndarray()


def test_the_recorded_minutes_have_their_prices_and_volumes() -> None:
    bars = bars_of(store("ohlcv-1m"), MINUTE, 1 << 62)
    assert bars.bar(0).open_time == dt.datetime(2020, 12, 28, 13, tzinfo=dt.UTC)
    assert bars.open.tolist() == [372025.0, 372100.0]
    assert bars.volume.tolist() == [353.0, 152.0]


def test_prices_are_the_decimals_that_the_vendor_means_and_a_missing_one_is_missing() -> None:
    bars = bars_of(rows((0, 1, 3_720_250_000_001, UNDEFINED, 100_000_000, 1, 5)), MINUTE, 1 << 62)
    assert (bars.open[0], bars.low[0], bars.close[0]) == (3720.250000001, 0.1, 1e-9)
    assert np.isnan(bars.high[0])


def test_a_bar_beyond_what_the_dataset_knows_is_forming() -> None:
    bars = bars_of(rows((0, 1, 1, 1, 1, 1, 1), (MINUTE_NS, 1, 1, 1, 1, 1, 1)), MINUTE, MINUTE_NS + 1)
    assert bars.state is not None
    assert bars.state.tolist() == [2, 1]


def test_of_several_publishers_the_busiest_gives_the_bars() -> None:
    mixed = rows((0, 1, 1, 1, 1, 1, 5), (0, 2, 2, 2, 2, 2, 50), (MINUTE_NS, 2, 2, 2, 2, 2, 1))
    bars = bars_of(mixed, MINUTE, 1 << 62)
    assert bars.volume.tolist() == [50.0, 1.0]


def test_an_answer_without_rows_is_no_bars() -> None:
    assert len(bars_of(rows(), MINUTE, 0)) == 0


def test_the_recorded_trades_have_price_size_side_and_sequence() -> None:
    ticks = trades_of(store("trades"), TickRequest("ESH1", 0, 1 << 62))
    first = ticks.tick(0)
    assert (first.price, first.size, first.side, first.venue_sequence) == (3720.25, 5.0, Side.SELL, 1170380)
    assert first.event_time_ns == 1609160400098821953
    assert len(trades_of(store("trades"), TickRequest("ESH1", 0, first.event_time_ns))) == 0


def test_recorded_definitions_become_instruments_and_the_last_of_a_day_counts() -> None:
    (share,) = Databento()._instruments(store("definition.equity"))
    assert isinstance(share, Instrument)
    assert (share.symbol, share.asset_class, share.exchange, share.external_id) == ("MSFT", "equity", "XNAS", "6830")
    (future,) = Databento()._instruments(store("definition.futures_contract"))
    assert isinstance(future, Instrument)
    assert (future.symbol, future.asset_class, future.quote_currency) == ("ESU6", "future", "USD")
    assert str(future.price_step) == "0.25"
    assert list(Databento()._instruments(store("definition.futures_spread"))) == []


def test_a_long_range_is_asked_for_in_stretches() -> None:
    assert list(_stretches(TimeRange(5, 27), 10)) == [TimeRange(5, 15), TimeRange(15, 25), TimeRange(25, 27)]
    assert list(_stretches(None, 10)) == []


class HttpError(Exception):
    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.http_status = status
        self.headers = headers or {}


@pytest.mark.parametrize(
    ("status", "text", "wanted", "may_pass"),
    [
        (401, "auth_authentication_failed", Unauthorised, False),
        (402, "account_insufficient_funds", Unauthorised, False),
        (403, "license_not_found_unauthorized", Unauthorised, False),
        (422, "symbology_invalid_request None of the symbols could be resolved", UnknownSymbol, False),
        (422, "data_schema_not_supported", errors.VendorFailed, False),
        (429, "too many", Throttled, True),
        (500, "internal", errors.VendorFailed, True),
        (504, "The remote gateway timed out.", errors.VendorFailed, True),
    ],
)
def test_what_an_answer_of_the_service_means(status: int, text: str, wanted: type[Exception], may_pass: bool) -> None:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    failure = _judged(HttpError(status, text, {"Retry-After": "7"}), "AAPL", now)
    assert type(failure.error) is wanted
    assert failure.may_pass is may_pass
    assert "AAPL" in failure.error.message
    if status == 429:
        assert failure.error.retry_after_s == 7.0


def test_the_key_is_sent_without_tls_to_this_machine_only() -> None:
    with pytest.raises(errors.InvalidArgument, match="https://"):
        _at(None, "http://example.com")


def test_a_key_that_is_not_stored_is_named() -> None:
    provider = Databento(Context(name="databento"))
    provider._made = None
    with pytest.raises(errors.FailedPrecondition, match="api_key"):
        provider._client()
