"""`quasar dev backtest`: a strategy in the jail over bars from files, with its figures."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quasar.cli import tables

if TYPE_CHECKING:  # the console must start at once
    from quasar.engine.statistics import Statistics
    from quasar.plugins.strategy import StrategyInput

_SHARES = frozenset({"total_return", "cagr", "volatility", "max_drawdown", "value_at_risk", "exposure", "win_rate"})
_SHOWN = (
    "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "max_drawdown_days",
    "value_at_risk", "exposure", "trades", "win_rate", "profit_factor", "expectancy", "average_win", "average_loss",
    "best_trade", "worst_trade", "average_bars_held", "commission",
)  # fmt: skip


@dataclass(slots=True)
class Ran:
    """What a back-test left."""

    figures: dict[str, float | None] = field(default_factory=dict)
    """None: it has no meaning here."""
    final_equity: str = ""
    bars: int = 0
    trades: list[tuple[object, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Bars as CSV, Parquet or Feather; SYMBOL-INTERVAL.csv names them. May be given several times.",
)
@click.option("--symbol", default="", help="Name of the bars, where the file's does not say; for one file.")
@click.option("--interval", default="", help="Interval of the bars, where the file's name does not say.")
@click.option("--cash", default="100000", show_default=True, help="Equity at the start.")
@click.option("--commission", default="0", show_default=True, help="Part of each fill's value: 0.001 is 0.1 %.")
@click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the class.")
@click.option("--trades", "with_trades", is_flag=True, help="Show the closed trades, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def backtest(
    file: Path,
    data: tuple[Path, ...],
    symbol: str,
    interval: str,
    cash: str,
    commission: str,
    parameters: tuple[str, ...],
    with_trades: bool,
    as_json: bool,
) -> None:
    """Run the strategy in FILE over bars from files, in the jail, and show its figures.

    An order fills at the open of the bar after it.

    quasar dev backtest breakout.py --data BTC_USD-1h.parquet --commission 0.001 --set fast=8
    """
    from quasar.cli.dev_session import log_beside

    terms = {
        "cash": {"amount": {"value": cash}, "currency": "USD"},
        "recordLevel": "RECORD_LEVEL_FULL",
        "execution": {"commission": {"rate": {"rate": {"value": commission}}}},
    }
    with log_beside():
        ran = asyncio.run(_run(file, [read_input(path, symbol, interval) for path in data], terms, _pairs(parameters)))
    if as_json:
        click.echo(tables.as_json({"final_equity": ran.final_equity, "bars": ran.bars, **ran.figures}))
    else:
        click.echo(_table(ran))
        if with_trades and ran.trades:
            heads = ("symbol", "side", "quantity", "entry", "price", "exit", "price", "profit")
            click.echo("\n" + tables.table(heads, ran.trades))
    for line in ran.notes:
        click.echo(line, err=True)
    if ran.error:
        click.echo(ran.error, err=True)
        sys.exit(1)


def _pairs(parameters: Sequence[str]) -> dict[str, Any]:
    from quasar.cli.dev_session import typed

    found = []
    for text in parameters:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"must be name=value, was {text!r}", param_hint="--set")
        found.append((name, value))
    return typed(found)


def read_input(path: Path, symbol: str = "", interval: str = "") -> StrategyInput:
    """Read the bars of a file.

    Args:
        path: CSV, Parquet or Feather, with columns as the provider `files` reads them.
        symbol: What the strategy calls it; empty: what stands before the last `-` of the name, `_` written `/`.
        interval: Empty: what stands behind the last `-` of the name, else the usual distance of the bars.

    Raises:
        InvalidArgument: A column is missing, or the bars do not stand as far apart as any interval.
    """
    from quasar import errors
    from quasar.model.intervals import Interval
    from quasar.plugins.strategy import StrategyInput
    from quasar.providers.files import SUFFIXES, read_bars

    stem = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    name, _, last = stem.rpartition("-")
    try:
        named = Interval.parse(last).code if name else ""
    except errors.InvalidArgument:
        named = ""
    bars = read_bars(path)
    return StrategyInput(
        name=symbol or (name if named else stem).replace("_", "/"),
        interval=interval or named or _distance(bars.open_time_ns, path),
        bars=bars,
    )


def _distance(times: Any, path: Path) -> str:
    import numpy as np

    from quasar import errors
    from quasar.model.intervals import Interval

    usual = int(np.median(np.diff(times))) if len(times) > 1 else 0
    for code in ("1s", "5s", "15s", "30s", "1min", "5min", "15min", "30min", "1h", "4h", "1d", "1w"):
        if Interval.parse(code).length_ns == usual:
            return code
    raise errors.InvalidArgument(f"the interval of {path.name} must be given with --interval, cannot be told from it")


async def _run(
    file: Path, series: Sequence[StrategyInput], terms: Mapping[str, Any], parameters: Mapping[str, Any]
) -> Ran:
    from quasar.plugins.code import CodeVersion
    from quasar.plugins.manifest import Kind
    from quasar.plugins.pool import PluginPool
    from quasar.plugins.process import ProcessSettings
    from quasar.plugins.strategy import BacktestSpec

    source = file.read_bytes()  # noqa: ASYNC240 - one small file, before anything else runs
    code = CodeVersion(kind=Kind.STRATEGY, name=file.stem, source=source, file_name=file.name, ports=())
    spec = BacktestSpec(backtest_id="dev", series=series, parameters=parameters, terms=terms)
    ran = Ran()
    equity: list[Any] = []
    trades: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="quasar-dev-") as folder:
        async with PluginPool(Path(folder), settings=ProcessSettings(service="quasar dev")) as pool:
            async for message in (await pool.strategy(code)).run_backtest(spec):
                equity += message.equity
                trades += message.trades
                ran.notes += [f"{line.event_time.ToJsonString()}: {line.message}" for line in message.logs]
                if message.HasField("outcome"):
                    _take(ran, message.outcome)
    if not ran.error:
        ran.figures = _figures(_measured(equity, trades, float(terms["cash"]["amount"]["value"])))
        ran.trades = [_trade(one) for one in trades]
    return ran


def _take(ran: Ran, outcome: Any) -> None:
    ran.bars = outcome.counts.bars
    ran.final_equity = outcome.equity.amount.value
    ran.notes += [finding.message for finding in outcome.findings]
    if not outcome.succeeded:
        why = outcome.error
        place = f"{why.file}:{why.line}: " if why.file else ""
        ran.error = f"{place}{why.type}: {why.message}"


def _measured(equity: Sequence[Any], trades: Sequence[Any], start: float) -> Statistics:
    """Return the figures by the formulas of the engine."""
    import numpy as np

    from quasar.engine.statistics import measure
    from quasar.engine.trades import Trades

    def column(name: str) -> Any:
        return np.concatenate([np.asarray(getattr(one, name), dtype=np.float64) for one in equity] or [np.empty(0)])

    def amounts(name: str) -> Any:
        return np.array([float(getattr(one, name).value) for one in trades], dtype=np.float64)

    def numbers(name: str) -> Any:
        return np.array([getattr(one, name) for one in trades], dtype=np.int64)

    nothing, exposed = np.zeros(len(trades)), column("net_exposure")
    closed = Trades(
        symbol=np.zeros(len(trades), dtype=np.int64),
        direction=np.zeros(len(trades), dtype=np.int64),
        quantity=amounts("quantity"),
        entry_bar=numbers("entry_bar_index"),
        exit_bar=numbers("exit_bar_index"),
        entry_price=amounts("entry_price"),
        exit_price=amounts("exit_price"),
        commission=amounts("commission"),
        profit=amounts("net_profit"),
        mae=nothing,
        mfe=nothing,
    )
    times = np.concatenate([np.asarray(one.time_ns, dtype=np.int64) for one in equity] or [np.empty(0, np.int64)])
    exposure = float(np.mean(exposed != 0)) if len(exposed) else 0.0
    return measure(times, column("equity"), closed, start=start, exposure=exposure)


def _figures(statistics: Statistics) -> dict[str, float | None]:
    found = statistics.as_dict()
    return {name: found[name] if found[name] == found[name] else None for name in _SHOWN}


def _trade(one: Any) -> tuple[object, ...]:
    side = "long" if one.side == 1 else "short"
    entry, exit_ = (f"{time.ToDatetime():%Y-%m-%d %H:%M}" for time in (one.entry_time, one.exit_time))
    return (
        one.symbol,
        side,
        one.quantity.value,
        entry,
        one.entry_price.value,
        exit_,
        one.exit_price.value,
        one.net_profit.value,
    )


def _table(ran: Ran) -> str:
    rows: list[tuple[object, ...]] = [("final_equity", ran.final_equity), ("bars", ran.bars)]
    for name, value in ran.figures.items():
        if value is None:
            rows.append((name, "-"))
        elif name in _SHARES:
            rows.append((name, f"{value:.2%}"))
        else:
            rows.append((name, f"{value:.0f}" if name == "trades" else f"{value:.2f}"))
    return tables.table(("figure", "value"), rows)
