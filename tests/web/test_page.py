"""The page as a person uses it, in a real browser on a real platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as asset_pb
from quasar_proto.registry.v1 import code_service_pb2 as code_pb
from quasar_proto.strategy.v1 import denial_pb2, order_pb2, policy_pb2, strategy_pb2, trading_pb2, universe_pb2
from quasar_proto.strategy.v1 import policy_service_pb2 as policy_pb
from quasar_proto.strategy.v1 import strategy_service_pb2 as strategy_pb
from quasar_proto.strategy.v1 import trading_service_pb2 as trading_pb
from tests.web.conftest import CHECKOUT, SYMBOLS, Page

pytestmark = pytest.mark.xdist_group("web")

# What a browser itself says of an answer that the page shows in words.
EXPECTED = ("Failed to load resource",)
BROKEN = """from quasar.strategy import Strategy


class Broken(Strategy):
    def on_bar(self, bar)
        self.buy(1)
"""

# Its one flaw is a clock that it should not read: a warning.
PROVIDER = """import datetime
from collections.abc import AsyncIterator

from quasar.provider import Bar, BarRequest, Provider


class Sturdy(Provider):
    \"\"\"Yields nothing.\"\"\"

    name = "Sturdy"
    intervals = ("1d",)

    async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
        self.asked = datetime.datetime.now()
        for bar in ():
            yield bar
"""


# Days of one symbol, and nothing live.
DAILY = """from collections.abc import AsyncIterator

from quasar.provider import Bar, BarRequest, Instrument, Provider


class Daily(Provider):
    \"\"\"Lists one symbol.\"\"\"

    name = "daily"
    intervals = ("1d",)

    async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
        for bar in ():
            yield bar

    async def symbols(self, exchange: str = "") -> AsyncIterator[Instrument]:
        yield self.instrument("ONLY", name="The only one", asset_class="equity", quote_currency="USD")
"""


def defects(found: dict[str, list[str]]) -> list[str]:
    return [each for each in found["complaints"] if not any(words in each for words in EXPECTED)]


async def test_the_door_opens_to_the_right_token_only_and_closes_again(page: Page) -> None:
    found = await page.drive("door.mjs")
    assert "quasar token create" in found["refusal"]
    assert "UNAUTHENTICATED" in found["refusal"]
    assert set(found["cards"]) == {"Registry", "DataHub", "StrategyEngine"}
    assert all(state.endswith("serving") for state in found["cards"].values())
    assert found["afterKeys"] == "/markets"
    assert "Runs and gaps" in found["sheet"]
    assert found["doorAgain"]
    assert found["kept"] == [0, None]
    assert defects(found) == []


async def test_candles_move_by_themselves_and_go_on_after_a_reload(page: Page) -> None:
    found = await page.drive("market.mjs")
    assert found["address"] == "/markets/simulated/BTC%2FUSD"
    assert found["canvases"] > 0
    assert found["first"] != found["second"]
    assert found["afterReload"] != found["onward"]
    assert found["table"]["rows"] > 100
    assert "Volume" in found["table"]["heads"]
    assert found["moves"] == dict.fromkeys(("5min", "15min", "1h", "1d"), True)
    assert found["unknown"]
    assert defects(found) == []


async def test_what_exists_is_collected_and_recorded_is_listed(page: Page) -> None:
    found = await page.drive("lists.mjs")
    for name in ("eodhd", "files", "kraken", "simulated"):
        assert name in found["providers"]
    assert "running" in found["providers"]
    assert found["found"] == 2
    assert "LTC/USD" in found["refusal"]
    assert found["typed"] == "LTC/USD"
    assert all(symbol in found["runText"] for symbol in SYMBOLS)
    assert "series" in found["gaps"]
    assert "LTC/USD" in found["events"]
    assert defects(found) == []


async def test_a_strategy_with_a_syntax_error_is_refused_by_line_and_nothing_is_lost(
    page: Page, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN, encoding="utf-8")
    found = await page.drive("upload.mjs", broken, CHECKOUT / "examples" / "strategies" / "sma_cross.py")
    assert "line 5" in found["findings"]
    assert found["refusal"]
    assert found["chosen"] == "broken.py"
    stored = await page.platform.code.ListCode(code_pb.ListCodeRequest(filter='kind = "STRATEGY"'))
    assert [code.ref.name for code in stored.codes] != []
    assert all("roken" not in code.ref.name for code in stored.codes)
    assert stored.codes[0].ref.name in found["codes"]
    assert defects(found) == []


async def test_a_provider_is_refused_with_its_report_and_taken_with_its_warnings(page: Page, tmp_path: Path) -> None:
    refused, warned = tmp_path / "flawed.py", tmp_path / "sturdy.py"
    refused.write_text(PROVIDER.replace("async def bars", "def bars"), encoding="utf-8")
    warned.write_text(PROVIDER, encoding="utf-8")
    found = await page.drive("provider.mjs", refused, warned)
    assert any("bars" in each and "async" in each for each in found["findings"]), found["findings"]
    assert any("without a zone" in each for each in found["warnings"]), found["warnings"]
    assert "version 1" in found["row"]
    assert defects(found) == []


async def test_a_provider_gets_its_secret_and_settings_and_is_subscribed_to_as_it_can(page: Page) -> None:
    await page.platform.code.UploadCode(
        code_pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_PROVIDER, file_name="daily.py", content=DAILY.encode(), activate=True
        )
    )
    source = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="daily")
    synced = await page.platform.assets.SyncAssets(asset_pb.SyncAssetsRequest(source=source))
    await page.platform.finished(synced.operation)
    found = await page.drive("settings.mjs", "daily", "ONLY")
    assert "data.lookback_days must be between 1 and 8000, was 99999" in found["refusal"]
    assert found["lookback"] == "30"
    assert found["prices"] == "adjusted"
    assert found["kept"] == ["", "stored"], "a secret never comes back"
    ref = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="eodhd")
    held = await page.platform.code.GetPreferences(code_pb.GetPreferencesRequest(ref=ref))
    assert dict(held.preferences.stored) == {"prices": "adjusted"}
    assert found["offered"] == ["1d"]
    assert not found["live"]
    assert found["made"].split("\t")[2:4] == ["1d", "history"]
    assert defects(found) == []


async def test_a_paper_strategy_is_started_stopped_and_kept_from_trading_by_a_halt(page: Page) -> None:
    example = CHECKOUT / "examples" / "strategies" / "sma_cross.py"
    uploaded = await page.platform.code.UploadCode(
        code_pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_STRATEGY, file_name=example.name, content=example.read_bytes(), activate=True
        )
    )
    cash = values_pb2.Money(amount=values_pb2.Decimal(value="10000"), currency="USD")
    await page.platform.trading.CreatePaperAccount(
        trading_pb.CreatePaperAccountRequest(account_id="paper", paper=trading_pb2.PaperSettings(cash=[cash]))
    )
    key = values_pb2.SeriesKey(provider="simulated", symbol="ETH/USD", interval="1min")
    instance = strategy_pb2.Instance(
        instance_id="paper-cross",
        display_name="Paper cross",
        strategy=uploaded.code.ref.name,
        mode=strategy_pb2.TRADING_MODE_PAPER,
        universe=universe_pb2.Universe(selectors=[universe_pb2.SeriesSelector(series=key)]),
        account_id="paper",
    )
    await page.platform.strategies.CreateInstance(strategy_pb.CreateInstanceRequest(instance=instance))
    found = await page.drive("control.mjs")
    assert found["seen"] == ["stopped", "running", "stopped", "stopped", "running", "stopped"]
    assert "ACTIVE" in found["refusal"]
    assert defects(found) == []


async def test_a_strategy_is_put_on_paper_from_the_page(page: Page) -> None:
    example = CHECKOUT / "examples" / "strategies" / "sma_cross.py"
    uploaded = await page.platform.code.UploadCode(
        code_pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_STRATEGY, file_name=example.name, content=example.read_bytes(), activate=True
        )
    )
    found = await page.drive("paper.mjs", uploaded.code.ref.name)
    assert found["known"] == "Known as btc-by-hand, for good."
    assert "must be a decimal number such as 12.50, was 'much'" in found["cash"]
    assert "fast" in found["bounds"]
    assert "at least 1" in found["bounds"]
    assert "paper" in found["runs"]
    assert "ALREADY_EXISTS" in found["taken"]
    made = await page.platform.strategies.GetInstance(strategy_pb.GetInstanceRequest(instance_id="btc-by-hand"))
    assert made.instance.account_id == "by-hand"
    assert made.instance.capital.amount.value == "5000"
    assert defects(found) == []


async def test_open_orders_and_strict_states_are_shown_and_taken_back(page: Page) -> None:
    cash = values_pb2.Money(amount=values_pb2.Decimal(value="10000"), currency="USD")
    await page.platform.trading.CreatePaperAccount(
        trading_pb.CreatePaperAccountRequest(account_id="careful", paper=trading_pb2.PaperSettings(cash=[cash]))
    )
    for number in range(3):
        spec = order_pb2.OrderSpec(
            symbol="ETH/USD",
            side=order_pb2.ORDER_SIDE_BUY,
            type=order_pb2.ORDER_TYPE_LIMIT,
            quantity=values_pb2.Decimal(value="0.5"),
            limit_price=values_pb2.Decimal(value=f"1{number}.50"),
        )
        await page.platform.trading.PlaceOrder(
            trading_pb.PlaceOrderRequest(account_id="careful", order=spec, request_id=f"page-{number}")
        )
    scope = denial_pb2.PolicyScope(kind=denial_pb2.SCOPE_KIND_ACCOUNT, id="careful")
    await page.platform.policies.SetTradingState(
        policy_pb.SetTradingStateRequest(
            scope=scope, state=policy_pb2.TRADING_STATE_REDUCE_ONLY, reason="a look at the books"
        )
    )
    found = await page.drive("orders.mjs")
    shown = [dict(zip(found["heads"], row, strict=True)) for row in found["listed"]]
    assert {(row["Symbol"], row["Order"], row["Quantity"], row["Account"]) for row in shown} == {
        ("ETH/USD", "buy limit", "0.5", "careful")
    }
    assert {row["Limit"] for row in shown} == {"10.5", "11.5", "12.5"}
    assert found["counted"] == "3"
    assert all(words in found["strict"] for words in ("account careful", "trading reduce only", "a look at the books"))
    assert not found["cancelsAgain"], "the next halt cancels orders only when it is asked to"
    assert defects(found) == []


async def test_nothing_is_cut_off_in_a_window_as_narrow_as_a_phone(page: Page) -> None:
    found = await page.drive("narrow.mjs")
    assert {name: wrong for name, wrong in found["found"].items() if wrong} == {}
    assert len(found["found"]) == 9
    assert defects(found) == []


async def test_a_back_test_ends_in_its_equity_curve(page: Page) -> None:
    example = CHECKOUT / "examples" / "strategies" / "sma_cross.py"
    uploaded = await page.platform.code.UploadCode(
        code_pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_STRATEGY,
            file_name=example.name,
            content=example.read_bytes(),
            activate=True,
        )
    )
    found = await page.drive("backtest.mjs", uploaded.code.ref.name)
    assert found["complaint"]
    assert found["drawn"] > 0
    assert not found["label"].startswith("Equity curve of 0 ")
    assert found["trades"] > 1
    assert defects(found) == []


async def test_every_page_is_accessible_in_both_themes(page: Page) -> None:
    found = await page.drive("access.mjs")
    assert {name: wrong for name, wrong in found["found"].items() if wrong} == {}
    assert len(found["found"]) == 20
    assert found["themes"][0] != found["themes"][1]
