from __future__ import annotations

import datetime as dt

import pytest
from textual.events import Key
from textual.widgets import Input

from quasar.testing.clock import FakeClock
from quasar_client.ops import v1 as ops
from quasar_client.registry import v1 as registry
from quasar_client.strategy import v1 as strategy
from tests.tui.stores import NOW, at, busy
from tui.app import Console
from tui.store import Store
from tui.widgets.help import Help


def console(store: Store | None = None) -> Console:
    return Console(None, store or busy(), FakeClock(NOW))


def state(app: Console) -> str:
    return str(app.query_one("#state").render())


def banner(app: Console) -> str:
    return str(app.query_one("#banner").render())


async def test_digits_and_commands_open_views_and_minus_goes_back() -> None:
    app = console()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5")
        assert app.view.title == "Live ticks"
        assert app.table.row_count == 2
        await pilot.press("colon", *"subs", "enter")
        assert app.view.title == "Subscriptions"
        await pilot.press("minus")
        assert app.view.title == "Live ticks"


async def test_a_filter_narrows_the_rows_and_escape_clears_it() -> None:
    app = console()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "slash", *"nova", "enter")
        assert app.table.row_count == 1
        assert "filter: nova" in state(app)
        await pilot.press("escape")
        assert app.table.row_count == 2


@pytest.mark.parametrize("text", ["[nova", "[/nova]", "[red]"])
async def test_brackets_in_a_filter_and_in_an_error_are_letters(text: str) -> None:
    app = console()
    link = app.store.link("prices")
    link.state, link.error = "reconnecting", f"no {text} here"
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "slash")
        app.query_one("#prompt", Input).value = text
        await pilot.press("enter")
        await pilot.pause()
        assert f"filter: {text}" in state(app)
        assert f"no {text} here" in banner(app)


async def test_a_log_goes_on_over_a_restart_of_its_service() -> None:
    store = busy()
    for minutes in (9, 1):
        line = ops.LogRecord(service="datahub", sequence=1, time=at(minutes=minutes), level="info", event="serving")
        store.logs.append(line)
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("9")
        assert app.table.row_count == 2


async def test_a_platform_that_may_not_trade_as_usual_says_so() -> None:
    store = busy()
    store.trading_state = strategy.TradingStateRecord(state=strategy.TradingState.REDUCE_ONLY)
    app = console(store)
    async with app.run_test(size=(160, 40)):
        assert "REDUCE ONLY" in banner(app)
        store.trading_state = strategy.TradingStateRecord(state=strategy.TradingState.HALTED)
        app.repaint()
        assert "TRADING HALTED" in banner(app)


async def test_only_faults_can_be_shown() -> None:
    app = console()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "ctrl+z")
        assert app.table.row_count == 1
        assert "FAULTS" in banner(app)


async def test_an_empty_view_says_whether_it_is_loading_or_empty() -> None:
    store = Store()
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("6")
        assert "Loading" in state(app)
        store.changed("gaps")
        app.repaint()
        assert "No gaps" in state(app)


async def test_a_pause_stops_painting_and_keeps_what_comes() -> None:
    store = busy()
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "p")
        store.prices.pop("simulated:NOVA")
        store.changed()
        app.repaint()
        assert app.table.row_count == 2
        assert "PAUSED" in banner(app)
        await pilot.press("p")
        assert app.table.row_count == 1


async def test_a_change_updates_cells_and_leaves_the_cursor_where_it_is() -> None:
    store = busy()
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "down")
        assert app.table.current_key == "simulated:NOVA"
        changed = store.prices["simulated:NOVA"]
        changed.last = 55.5
        store.changed()
        app.repaint()
        assert "55.5" in str(app.table.get_row("simulated:NOVA")[1])
        assert app.table.current_key == "simulated:NOVA"
        changed.bid, changed.ask = 55.4, 55.6
        store.changed()
        app.repaint()
        assert [str(cell) for cell in app.table.get_row("simulated:NOVA")[2:4]] == ["55.4", "55.6"]


async def test_a_lost_connection_is_said_and_the_last_values_stay() -> None:
    store = busy()
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        link = store.link("prices")
        link.state, link.error = "reconnecting", "the datahub does not answer"
        link.last = NOW - dt.timedelta(seconds=4)
        store.changed()
        await pilot.press("5")
        app.repaint()
        assert "prices: reconnecting" in banner(app)
        assert "the datahub does not answer" in banner(app)
        assert app.table.row_count == 2


async def test_the_help_lists_views_and_keys() -> None:
    app = console()
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["narrow", "wide"])
@pytest.mark.parametrize("alias", ["pulse", "ticks", "jobs", "strat"])
def test_views_look_as_they_did(snap_compare: object, alias: str, size: tuple[int, int]) -> None:
    async def opened(pilot: object) -> None:
        app = pilot.app  # type: ignore[attr-defined]  # the snapshot fixture hands over an untyped pilot
        app.action_view(alias)
        await pilot.pause()  # type: ignore[attr-defined]

    assert snap_compare(console(), terminal_size=size, run_before=opened)  # type: ignore[operator]


async def test_a_repaint_while_the_console_closes_is_harmless() -> None:
    app = console()
    async with app.run_test(size=(160, 40)):
        await app.query_one("#banner").remove()
        app.repaint()


async def test_keys_that_come_in_one_burst_work_in_their_order() -> None:
    app = console()
    async with app.run_test(size=(160, 40)) as pilot:
        for key in ("5", "slash", *"nova", "enter"):
            character = {"slash": "/"}.get(key, key if len(key) == 1 else None)
            app.post_message(Key(key, character))
        await pilot.pause()
        assert app.view.title == "Live ticks"
        assert "filter: nova" in state(app)


async def test_what_is_typed_into_a_prompt_or_at_a_question_moves_nothing_behind_it() -> None:
    app = console()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("5", "slash", *"1/p:s?", "enter")
        assert app.view.title == "Live ticks"
        assert "filter: 1/p:s?" in state(app)
        await pilot.press("escape", "question_mark", "3", "slash")
        assert isinstance(app.screen, Help)
        assert app.view.title == "Live ticks"
        await pilot.press("escape", "3")
        assert app.view.title == "Subscriptions"


async def test_a_list_that_is_longer_than_what_is_read_says_so() -> None:
    store = busy()
    app = console(store)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("3")
        assert "more" not in state(app)
        store.read("subscriptions", registry.ListSubscriptionsResponse(next_page_token="next"))
        store.changed("subscriptions")
        app.repaint()
        assert "of more, the first ones" in state(app)
        store.read("subscriptions", registry.ListSubscriptionsResponse())
        store.changed("subscriptions")
        app.repaint()
        assert "more" not in state(app)
