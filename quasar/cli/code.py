"""`quasar upload` and `quasar code`: providers, brokers and strategies of a running platform."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quasar.cli import tables
from quasar.cli.code_settings import settings
from quasar.cli.dev import KINDS, Setting, report_text

if TYPE_CHECKING:  # the console must start at once
    from quasar.client.code import StoredCode, Uploaded
    from quasar.plugins.report import Report

_HEADS = ("KIND", "NAME", "ACTIVE", "NEWEST", "MISSING")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--secret", "secrets", type=Setting(), multiple=True, help="A secret; other users may see it in `ps`.")
@click.option(
    "--secrets-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a secret in each line, name=value; lines that begin with # are left out.",
)
@click.option("--set", "preferences", type=Setting(), multiple=True, help="A preference of the class.")
@click.option("--no-activate", is_flag=True, help="Store the version; what runs goes on.")
@click.option("--note", default="", help="What is new, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def upload(
    kind: str,
    file: Path,
    secrets: tuple[tuple[str, str], ...],
    secrets_file: Path | None,
    preferences: tuple[tuple[str, str], ...],
    no_activate: bool,
    note: str,
    as_json: bool,
) -> None:
    """Upload FILE as a new version of a provider, broker or strategy, and run it.

    The platform validates it first, as `quasar dev check` does; code that is refused changes nothing, and the exit code
    is 1. Secrets replace all that are stored for the class; without any, those stay.

    quasar upload provider prices.py --secrets-file prices.env
    """
    from quasar.cli.dev_session import typed

    given = {**(read_secrets(secrets_file) if secrets_file else {}), **dict(secrets)}
    done, refused = asyncio.run(_upload(kind, file, given, typed(preferences), not no_activate, note))
    report = done.report if done is not None else refused
    if as_json:
        click.echo(
            tables.as_json(
                {
                    "stored": done is not None,
                    "version": done.version if done else 0,
                    "report": report and dataclasses.asdict(report),
                }
            )
        )
    elif done is not None:
        click.echo(_said(done))
    elif report is not None:
        click.echo(report_text(report))
    if done is None:
        sys.exit(1)


def read_secrets(path: Path) -> dict[str, str]:
    """Read a file of secrets.

    Raises:
        BadParameter: The file is no text, or a line is no `name=value`; its value is not shown.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} must be UTF-8 text, was not", param_hint="--secrets-file") from error
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise click.BadParameter(f"line {number} of {path} must be name=value", param_hint="--secrets-file")
        found[name.strip()] = value.strip()
    return found


async def _upload(
    kind: str, file: Path, secrets: dict[str, str], preferences: dict[str, object], activate: bool, note: str
) -> tuple[Uploaded | None, Report | None]:
    from quasar.client.code import CodeClient, report_of
    from quasar.client.platform import Platform
    from quasar.errors import CodeRejected
    from quasar.plugins.manifest import Kind

    async with Platform.read(os.environ) as platform:
        client = CodeClient(platform.channels["registry"])
        try:
            return await client.upload(
                Kind(kind), file, secrets=secrets, preferences=preferences, activate=activate, note=note
            ), None
        except CodeRejected as error:
            report = report_of(error)
            if report is None:
                raise
            return None, report


def _said(done: Uploaded) -> str:
    code = done.code
    stored = f"{code.kind.value} {code.name}: version {done.version}{'' if done.is_new else ' was stored already'}"
    runs = "runs" if code.active_version == done.version else f"version {code.active_version or 'none'} runs"
    lines = [f"{stored}, {runs}"]
    lines += [
        f"{one.place or '-'}: {one.severity.name.lower()} {one.rule}: {one.message}" for one in done.report.findings
    ]
    if code.missing:
        lines.append(f"it cannot run before these are set: {', '.join(code.missing)}")
    if done.effect:
        lines.append(done.effect)
    return "\n".join(lines)


@click.group()
def code() -> None:
    """List the providers, brokers and strategies of a running platform, choose which version runs, and set them up."""


code.add_command(settings)


@code.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def list_code(kind: str | None, as_json: bool) -> None:
    """List them by kind and name."""
    found = asyncio.run(_list(kind))
    if as_json:
        click.echo(tables.as_json([_shown(one) for one in found]))
        return
    rows = [
        (
            one.kind.value,
            one.name,
            "built in" if one.built_in else one.active_version or "-",
            one.latest_version,
            ", ".join(one.missing),
        )
        for one in found
    ]
    click.echo(tables.table(_HEADS, rows))


async def _list(kind: str | None) -> list[StoredCode]:
    from quasar.client.code import CodeClient
    from quasar.client.platform import Platform
    from quasar.plugins.manifest import Kind

    async with Platform.read(os.environ) as platform:
        return await CodeClient(platform.channels["registry"]).list(Kind(kind) if kind else None)


def _shown(one: StoredCode) -> dict[str, object]:
    return {
        "kind": one.kind.value,
        "name": one.name,
        "active_version": one.active_version,
        "latest_version": one.latest_version,
        "built_in": one.built_in,
        "missing": list(one.missing),
    }


@code.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1), required=False)
def activate(kind: str, name: str, version: int | None) -> None:
    """Run VERSION of a provider, broker or strategy; the newest one when it is absent. Data and mappings stay."""
    stored, effect = asyncio.run(_activate(kind, name, version or 0))
    click.echo(f"{stored.kind.value} {stored.name}: version {stored.active_version} runs")
    if effect:
        click.echo(effect)


async def _activate(kind: str, name: str, version: int) -> tuple[StoredCode, str]:
    from quasar.client.code import CodeClient
    from quasar.client.platform import Platform
    from quasar.plugins.manifest import Kind

    async with Platform.read(os.environ) as platform:
        return await CodeClient(platform.channels["registry"]).activate(Kind(kind), name, version)


COMMANDS = (upload, code)
