"""`quasar dev`: write, check and try out providers, strategies and brokers, without a platform running."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from quasar.cli import tables
from quasar.cli.dev_backtest import backtest
from quasar.cli.dev_traffic import record, replay

if TYPE_CHECKING:  # the console must start at once; what runs code is loaded by the command that does
    from quasar.cli.dev_session import Tried
    from quasar.plugins.report import Report

KINDS = ("provider", "strategy", "broker")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")
_AT_LEAST_ONE = click.IntRange(min=1)
_COLOURS = {"ERROR": "red", "WARNING": "yellow", "INFO": "blue"}


@click.group()
def dev() -> None:
    """Write, check and try out plug-ins. Everything works offline and needs no platform.

    quasar dev new provider demo && quasar dev check demo.py && quasar dev bars demo.py DEMO
    """


class Setting(click.ParamType[tuple[str, str]]):
    """A name and a value: `name=value`."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, sign, text = str(value).partition("=")
        if not sign or not name:
            self.fail(f"must be name=value, was {value!r}", param, ctx)
        return name, text


def settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that runs code."""
    options = (
        click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.option("--secret", "secrets", type=Setting(), multiple=True, help="A secret that the class takes."),
        click.option("--set", "preferences", type=Setting(), multiple=True, help="A preference of the class."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON for programs."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dev.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to write.")
def new(kind: str, name: str, folder: Path) -> None:
    """Write a working example to start from, with its test."""
    if _NAME.fullmatch(name) is None:
        raise click.BadParameter(f"must be letters, digits and _, starting with a letter, was {name!r}")
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "module": name,
        "file": f"{name}.py",
        "class_name": "".join(word.capitalize() for word in name.split("_")),
    }
    files = {f"{name}.py": f"{kind}.py.txt", f"test_{name}.py": f"test_{kind}.py.txt"}
    taken = [target for target in files if (folder / target).exists()]
    if taken:
        raise click.ClickException(f"{taken[0]} must not exist yet, was there already; choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    for target, source in files.items():
        text = resources.files("quasar.cli").joinpath("templates", source).read_text(encoding="utf-8")
        (folder / target).write_text(Template(text).substitute(words), encoding="utf-8")
        click.echo(f"wrote {folder / target}")
    click.echo(f"next: quasar dev check {folder / f'{name}.py'}")


@dev.command()
@settings
@click.option("--kind", type=click.Choice(KINDS), help="What it is; found from the code when absent.")
@click.option("--static", "static_only", is_flag=True, help="Only read the code, run nothing.")
@click.option("--network", is_flag=True, help="Let a provider reach its hosts, and ask for a little of everything.")
def check(
    file: Path,
    secrets: tuple[tuple[str, str], ...],
    preferences: tuple[tuple[str, str], ...],
    as_json: bool,
    kind: str | None,
    static_only: bool,
    network: bool,
) -> None:
    """Validate FILE as the platform does on upload: read it, run it in the jail. Exits with 1 when it is refused."""
    from quasar.cli.dev_session import chosen_kind, log_beside, need_declared, typed
    from quasar.plugins.validation import validate

    source = file.read_bytes()
    with log_beside():
        report = asyncio.run(
            validate(
                chosen_kind(kind, file.name, source),
                file.name,
                source,
                static_only=static_only,
                network=network,
                secrets=dict(secrets),
                preferences=typed(preferences),
            )
        )
    if report.manifest is not None:
        need_declared(report.manifest, dict(secrets), dict(preferences))
    click.echo(tables.as_json(report) if as_json else report_text(report))
    if not report.passed:
        sys.exit(1)


def report_text(report: Report) -> str:
    """Return a report for people."""
    lines = []
    for one in report.findings:
        severity = click.style(one.severity.name.lower(), fg=_COLOURS[one.severity.name], bold=True)
        lines.append(f"{one.place or '-'}: {severity} {one.rule}: {one.message}")
        if one.excerpt:
            lines.append(f"    {one.excerpt}")
        if one.remedy:
            lines.append(f"    remedy: {one.remedy}")
    if report.output:
        lines.append("output:")
        lines += [f"    {line}" for line in report.output.splitlines()[-20:]]
    verdict = (
        click.style("passed", fg="green", bold=True) if report.passed else click.style("refused", fg="red", bold=True)
    )
    name = f"{report.manifest.kind.value} {report.manifest.name}: " if report.manifest else ""
    can = ", ".join(one.lower() for one in report.manifest.capabilities) if report.manifest else ""
    lines.append(f"{name}{verdict} in {report.elapsed_s:.1f} s{f'; it can: {can}' if can else ''}")
    return "\n".join(lines)


@dev.command()
@settings
@click.argument("symbols", nargs=-1, required=True)
@click.option("--interval", help="1min, 5min, 1h, 1d …; the coarsest of the class up to a day when absent.")
@click.option("--start", type=click.DateTime(), help="UTC; a hundred bars before the end when absent.")
@click.option("--end", type=click.DateTime(), help="UTC; now when absent.")
@click.option(
    "--limit", type=_AT_LEAST_ONE, default=20, show_default=True, help="Bars shown of each symbol, the last ones."
)
def bars(symbols: tuple[str, ...], limit: int, **options: Any) -> None:
    """Fetch bars of SYMBOLS from the provider in FILE, and show them."""
    from quasar.cli import dev_session

    wanted = dev_session.Span(options.pop("interval"), _utc(options.pop("start")), _utc(options.pop("end")))
    _show(lambda session: dev_session.bars(session, symbols, wanted, limit), options)


@dev.command()
@settings
@click.argument("symbols", nargs=-1, required=True)
@click.option("--limit", type=_AT_LEAST_ONE, default=20, show_default=True, help="Rows after which it ends.")
@click.option("--seconds", default=30.0, show_default=True, help="Time after which it ends.")
def ticks(symbols: tuple[str, ...], limit: int, seconds: float, **options: Any) -> None:
    """Follow live ticks of SYMBOLS from the provider in FILE; each is shown as it comes.

    Of a class that streams bars only, the bars of its first interval.
    """
    from quasar.cli import dev_session

    live: dict[str, Any] = {"say": _note}
    if not options["as_json"]:
        live["show"] = tables.GrowingTable(dev_session.TICK_HEADS, click.echo).add
    _show(lambda session: dev_session.ticks(session, symbols, limit, seconds, **live), options, shown="show" in live)


@dev.command(name="symbols")
@settings
@click.option("--exchange", default="", help="Only those of this exchange.")
@click.option("--limit", type=_AT_LEAST_ONE, default=50, show_default=True, help="Symbols shown.")
def list_symbols(exchange: str, limit: int, **options: Any) -> None:
    """List the symbols that the provider in FILE knows."""
    from quasar.cli import dev_session

    _show(lambda session: dev_session.symbols(session, exchange, limit), options)


@dev.command()
@settings
@click.option("--index", default="", help="The index; the only one when absent.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="The membership on this date; now when absent.")
def constituents(index: str, date: dt.datetime | None, **options: Any) -> None:
    """Show the members of an index as the provider in FILE tells them."""
    from quasar.cli import dev_session

    day = date.date() if date else None
    _show(lambda session: dev_session.constituents(session, index, day), options)


def _note(text: str) -> None:
    click.echo(text, err=True)


def _show(ask: Callable[[Any], Any], options: dict[str, Any], *, shown: bool = False) -> None:
    """Ask the provider and show what came, unless that was shown as it came."""
    from quasar.cli import dev_session

    tried: Tried = asyncio.run(
        dev_session.try_out(
            options["file"],
            dict(options["secrets"]),
            dev_session.typed(options["preferences"]),
            ask,
            click.get_current_context().obj,
        )
    )
    if options["as_json"]:
        click.echo(tables.as_json([dict(zip(tried.heads, row, strict=True)) for row in tried.rows]))
    elif not shown:
        click.echo(tables.table(tried.heads, tried.rows))
    for line in tried.notes:
        _note(line)
    if tried.failed:
        sys.exit(1)


for _command in (backtest, record, replay):
    dev.add_command(_command)


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return moment.replace(tzinfo=dt.UTC) if moment else None
