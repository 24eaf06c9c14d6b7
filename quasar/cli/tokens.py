"""`quasar token`: who may call."""

from __future__ import annotations

import asyncio
import datetime as dt
import getpass
import os
import re
from typing import TYPE_CHECKING

import click

from quasar.cli import tables
from quasar.clock import SystemClock
from quasar.ops.roles import Role

if TYPE_CHECKING:
    from quasar.ops.actors import Actor
    from quasar.ops.tokens import Token

_LIFETIME = re.compile(r"(\d{1,18})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST_S = 5000 * 365 * 86400
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Lifetime(click.ParamType[dt.timedelta]):
    """A duration such as `90d`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.timedelta:
        """Return the duration."""
        match = _LIFETIME.fullmatch(str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"must be a number and s, m, h, d or w, such as 90d, was {value!r}", param, ctx)
        seconds = int(match[1]) * _SECONDS[match[2]]
        if seconds > _LONGEST_S:
            self.fail(f"must be at most 5000 years, was {value!r}; leave it out for a token without end", param, ctx)
        return dt.timedelta(seconds=seconds)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that callers show.

    A running platform is asked through its Registry, as whom QUASAR_TOKEN says (else the administrator of the home);
    otherwise the database is changed directly.
    """


@token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.word for role in Role]),
    default=Role.VIEWER.word,
    show_default=True,
    help="viewer reads, operator also runs things, admin also changes code, secrets and tokens.",
)
@click.option("--lifetime", type=Lifetime(), help="How long it works, such as 12h or 90d; until revoked when absent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def create(name: str, role: str, lifetime: dt.timedelta | None, as_json: bool) -> None:
    """Make a token called NAME and print it. It is shown only this once."""
    if not _NAME.fullmatch(name):
        raise click.BadParameter(f"must have 1 to 64 letters, digits, '.', '_' or '-', was {name!r}", param_hint="NAME")
    made, bearer = asyncio.run(_create(name, Role.of(role), lifetime))
    if as_json:
        click.echo(tables.as_json({**_shown(made), "bearer": bearer}))
        return
    click.echo(bearer)
    expiry = f", until {tables.moment(made.expire_time)} UTC" if made.expire_time else ""
    click.echo(f"Token {made.name}, {made.role.word}{expiry}. Keep it: it cannot be shown again.", err=True)


async def _create(name: str, role: Role, lifetime: dt.timedelta | None) -> tuple[Token, str]:
    from quasar.supervisor.token_access import on_database, through_registry

    async with through_registry(os.environ) as client:
        if client is not None:
            return await client.create(name, role, lifetime=lifetime)
    async with on_database(os.environ, SystemClock()) as tokens:
        return await tokens.create(name, role, actor=_operator(), lifetime=lifetime)


@token.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that were revoked or have expired.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def list_tokens(everything: bool, as_json: bool) -> None:
    """List tokens, newest first."""
    found = asyncio.run(_list(everything))
    if as_json:
        click.echo(tables.as_json([_shown(each) for each in found]))
        return
    rows = [
        (
            each.name,
            each.role.word,
            *map(tables.moment, (each.create_time, each.expire_time, each.last_used_time)),
            _state(each),
            each.token_id,
        )
        for each in found
    ]
    click.echo(tables.table(("NAME", "ROLE", "CREATED", "EXPIRES", "LAST USED", "STATE", "ID"), rows))


async def _list(everything: bool) -> list[Token]:
    from quasar.supervisor.token_access import on_database, through_registry

    async with through_registry(os.environ) as client:
        if client is not None:
            return await client.list(include_inactive=everything)
    async with on_database(os.environ, SystemClock()) as tokens:
        found, following = await tokens.list(page_size=1000, include_inactive=everything)
        while following:
            page, following = await tokens.list(page_size=1000, page_token=following, include_inactive=everything)
            found += page
        return found


@token.command()
@click.argument("token")
def revoke(token: str) -> None:
    """Revoke a token, by its name or id, for good. Calls with it fail within five seconds."""
    ended = asyncio.run(_revoke(token))
    click.echo(f"Revoked {ended.name} ({ended.token_id}).")


async def _revoke(token: str) -> Token:
    from quasar.supervisor.token_access import on_database, through_registry

    async with through_registry(os.environ) as client:
        if client is not None:
            return await client.revoke(token)
    async with on_database(os.environ, SystemClock()) as tokens:
        return await tokens.revoke(token, actor=_operator())


def _operator() -> Actor:
    """Return who is at the command line: whoever can read the database's address may do everything."""
    from quasar.ops.actors import Actor

    return Actor(f"cli:{getpass.getuser()}", Role.ADMIN)


def _state(found: Token) -> str:
    if found.revoke_time is not None:
        return "revoked"
    return "in force" if found.in_force(SystemClock().now()) else "expired"


def _shown(found: Token) -> dict[str, object]:
    return {
        "token_id": str(found.token_id),
        "name": found.name,
        "role": found.role.word,
        "state": _state(found),
        "create_time": found.create_time,
        "created_by": found.created_by,
        "expire_time": found.expire_time,
        "last_used_time": found.last_used_time,
    }
