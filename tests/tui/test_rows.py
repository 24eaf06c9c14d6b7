from __future__ import annotations

import pytest

from quasar_client.common import v1 as common
from quasar_client.datahub import v1 as datahub
from quasar_client.ops import v1 as ops
from quasar_client.strategy import v1 as strategy
from tests.tui.stores import NOW, at, busy
from tui import filters
from tui import format as show
from tui.rows import order_rows
from tui.store import Store
from tui.views import VIEWS, view_of


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.alias)
def test_every_view_shows_an_empty_store_and_a_busy_one(view: object) -> None:
    from tui.views import View

    assert isinstance(view, View)
    for store in (Store(), busy()):
        for row in view.build(store, NOW):
            assert len(row.cells) <= len(view.columns)
            assert row.key


def test_a_service_that_does_not_answer_is_a_fault_and_keeps_its_row() -> None:
    store = busy()
    del store.systems["datahub"]
    rows = {row.key: row for row in VIEWS[0].build(store, NOW)}
    assert rows["datahub"].fault
    assert "unreachable" in rows["datahub"].text
    assert not rows["registry"].fault


def test_a_service_that_was_not_asked_yet_is_no_fault() -> None:
    rows = list(VIEWS[0].build(Store(), NOW))
    assert all("connecting" in row.text and not row.fault for row in rows)
    store = busy()
    del store.systems["datahub"]
    store.link("datahub state")
    (datahub,) = [row for row in VIEWS[0].build(store, NOW) if row.key == "datahub"]
    assert "connecting" in datahub.text


def test_log_lines_of_all_services_stand_in_the_order_of_their_times() -> None:
    view = view_of("logs")
    assert view is not None
    store = Store()
    for number, (service, seconds) in enumerate((("registry", 9), ("registry", 3), ("datahub", 6))):
        store.logs.append(ops.LogRecord(service=service, sequence=number, time=at(seconds=seconds), event="said"))
    keys = [row.key for row in view.build(store, NOW)]
    assert [key.partition("/")[0] + key[-2:] for key in keys] == ["registry/1", "datahub/2", "registry/0"]


def test_quantities_are_exact_and_without_idle_zeros() -> None:
    view = view_of("ord")
    assert view is not None
    store = busy()
    for text, shown in (("100.00000000", "100"), ("0.00010", "0.0001"), ("1200", "1200")):
        store.orders["o-1"].spec.quantity.value = text
        (row,) = view.build(store, NOW)
        assert str(row.cells[4]) == shown


def test_a_price_that_rose_says_so_and_a_stale_one_needs_a_look() -> None:
    view = view_of("ticks")
    assert view is not None
    rows = {row.key: row for row in view.build(busy(), NOW)}
    assert "64,029.0 ↑" in rows["simulated:BTC/USD"].text
    assert "+1.20 %" in rows["simulated:BTC/USD"].text
    assert not rows["simulated:BTC/USD"].fault
    assert rows["simulated:NOVA"].fault


def test_bid_ask_and_spread_are_those_of_the_symbol_and_missing_where_it_has_no_quotes() -> None:
    view = view_of("ticks")
    assert view is not None
    cells = {row.key: dict(zip(view.columns, map(str, row.cells), strict=True)) for row in view.build(busy(), NOW)}
    bitcoin, nova = cells["simulated:BTC/USD"], cells["simulated:NOVA"]
    assert (bitcoin["Bid"], bitcoin["Ask"], bitcoin["Spread"]) == ("64,028.5", "64,029.8", "1.3")
    assert (nova["Bid"], nova["Ask"], nova["Spread"]) == ("–", "–", "–")


def test_the_newest_run_comes_first_and_tells_its_error() -> None:
    view = view_of("jobs")
    assert view is not None
    (row,) = view.build(busy(), NOW)
    assert row.fault
    assert "ETH/USD 1d" in row.text


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("btc", True),
        ("^ETH", False),
        ("!eth", True),
        ("!btc", False),
        ("-f bcu", True),
        ("-f xyz", False),
        ("(", False),
        ("", True),
    ],
)
def test_filters_search_the_way_operators_know(text: str, passes: bool) -> None:
    assert filters.compiled(text)("BTC/USD simulated") is passes


@pytest.mark.parametrize(
    ("alias", "title"),
    [("ticks", "Live ticks"), ("5", "Live ticks"), ("orders", "Orders and positions"), ("nope", None)],
)
def test_a_command_names_a_view_by_alias_digit_or_title(alias: str, title: str | None) -> None:
    view = view_of(alias)
    assert (view.title if view else None) == title


def test_the_keys_and_commands_of_views_are_unique() -> None:
    assert len({view.key for view in VIEWS}) == len({view.alias for view in VIEWS}) == len(VIEWS) == 10


def test_positions_and_orders_tell_whose_they_are_and_what_they_wait_for() -> None:
    store = busy()
    one = common.Decimal(value="1.50")
    for owner in ("sma", "grid"):
        key = f"paper:{owner}:BTC/USD"
        store.positions[key] = strategy.Position(account_id="paper", instance_id=owner, symbol="BTC/USD", quantity=one)
    store.orders["o-2"] = strategy.Order(
        client_order_id="o-2",
        account_id="paper",
        status=strategy.OrderStatus.ACCEPTED,
        spec=strategy.OrderSpec(symbol="BTC/USD", limit_price=common.Decimal(value="61000.50"), quantity=one),
    )
    rows = {row.key: row.text for row in order_rows(store, NOW)}
    assert sum("paper · sma" in text for text in rows.values()) == 1
    assert sum("paper · grid" in text for text in rows.values()) == 1
    assert "61000.5" in rows["o-2"]


def test_a_sync_of_an_index_shows_its_members_and_why_they_were_kept() -> None:
    view = view_of("jobs")
    assert view is not None
    store = Store()
    sync = datahub.IndexSyncResult(constituents=30, added=2, removed=1, reweighted=4, unchanged=25, errors=["bad"])
    done, kept, waiting = (
        datahub.Run(run_id=str(number), index="top", provider="cci", create_time=at(minutes=number), index_sync=result)
        for number, result in enumerate((sync, datahub.IndexSyncResult(message="They were kept."), None))
    )
    store.runs = {run.run_id: run for run in (done, kept, waiting)}
    rows = [[cell.plain.strip() for cell in row.cells] for row in view.build(store, NOW)]
    columns = [view.columns.index(name) for name in ("Series", "New", "Changed", "Bad", "Error")]
    assert [[row[column] for column in columns] for row in rows] == [
        ["top", "2", "5", "1", ""],
        ["top", "0", "0", "0", "They were kept."],
        ["top", show.MISSING, show.MISSING, show.MISSING, ""],
    ]


def test_maintenance_is_named_and_says_what_it_did() -> None:
    view = view_of("jobs")
    assert view is not None
    store = Store()
    did = datahub.MaintenanceResult(partitions_made=3, partitions_dropped=1)
    run = datahub.Run(run_id="m", kind=datahub.JobKind.MAINTENANCE, create_time=at(), maintenance=did)
    store.runs = {run.run_id: run}
    (row,) = view.build(store, NOW)
    cells = [cell.plain.strip() for cell in row.cells]
    shown = [cells[view.columns.index(name)] for name in ("Series", "New", "Error")]
    assert shown == ["maintenance", show.MISSING, "3 partitions made, 1 dropped"]
