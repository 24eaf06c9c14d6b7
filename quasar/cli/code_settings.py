"""`quasar code settings`: secrets and preferences of code that the platform has."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quasar.cli import tables
from quasar.cli.dev import KINDS, Setting

if TYPE_CHECKING:  # the console must start at once
    from quasar.client.code_settings import CodeSettings, SecretSetting

_HEADS = ("SETTING", "VALUE", "SET", "WHAT IT IS")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--set", "wanted", type=Setting(), multiple=True, help="A preference; a list as JSON.")
@click.option("--unset", "unwanted", metavar="NAME", multiple=True, help="Let the default of a preference hold again.")
@click.option("--secret", "secrets", type=Setting(), multiple=True, help="A secret; other users may see it in `ps`.")
@click.option(
    "--secrets-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a secret in each line, name=value; lines that begin with # are left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def settings(
    kind: str,
    name: str,
    wanted: tuple[tuple[str, str], ...],
    unwanted: tuple[str, ...],
    secrets: tuple[tuple[str, str], ...],
    secrets_file: Path | None,
    as_json: bool,
) -> None:
    """Show the settings of a provider, broker or strategy, built in or uploaded, and change them.

    A change reaches what runs at once. Secrets replace all that are stored, and are never shown.

    quasar code settings provider files --set folder=/srv/bars

    quasar code settings provider eodhd --secrets-file eodhd.env
    """
    from quasar.cli.code import read_secrets

    values = {path: _value(text) for path, text in wanted} | dict.fromkeys(unwanted)
    given = {**(read_secrets(secrets_file) if secrets_file else {}), **dict(secrets)}
    found, waits = asyncio.run(_change(kind, name, values, given))
    if as_json:
        click.echo(tables.as_json(found))
        return
    click.echo(tables.table(_HEADS, _rows(found)))
    for line in waits:
        click.echo(line)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _rows(found: CodeSettings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (one.name, _secret(one), "yes" if one.stored else "", one.description) for one in found.secrets
    ]
    for each in found.preferences:
        value = each.value if isinstance(each.value, str) else json.dumps(each.value, ensure_ascii=False)
        shown = "-" if each.value is None or value == "" else f"{value} {each.unit}".rstrip()
        rows.append((each.path, shown, "yes" if each.stored else "", each.description))
    return rows


def _secret(one: SecretSetting) -> str:
    return "sealed" if one.stored else "needed" if one.required else "-"


async def _change(
    kind: str, name: str, values: dict[str, Any], secrets: dict[str, str]
) -> tuple[CodeSettings, list[str]]:
    from quasar.client.code_settings import CodeSettingsClient
    from quasar.client.platform import Platform
    from quasar.plugins.manifest import Kind

    async with Platform.read(os.environ) as platform:
        client = CodeSettingsClient(platform.channels["registry"])
        waits = []
        if values:
            waits.append(await client.change(Kind(kind), name, values))
        if secrets:
            waits.append(await client.replace_secrets(Kind(kind), name, secrets))
        return await client.read(Kind(kind), name), [one for one in waits if one]
