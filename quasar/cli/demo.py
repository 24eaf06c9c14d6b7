"""`quasar demo`: something to look at on a platform that runs."""

from __future__ import annotations

import asyncio
import os

import click

from quasar.config import GATEWAY, Settings
from quasar.supervisor import invocation


@click.command()
def demo() -> None:
    """Fill a running platform with a simulated market and one paper strategy.

    It syncs the twenty symbols of the provider `simulated`, subscribes to their days, minutes and live ticks, fetches a
    year of days and a week of minutes, uploads the example strategy and starts it on paper. It goes through the same
    calls as everybody else, and may be repeated.
    """
    settings = Settings.read(GATEWAY, os.environ)
    asyncio.run(_show())
    scheme = "https" if settings.tls.enabled else "http"
    click.echo(
        "\nLook at it:\n"
        f"  the page      {scheme}://{_host(settings)}:{settings.port}\n"
        f"  its token     {settings.home.admin_token}\n"
        f"  the console   {invocation.command()} tui\n"
        "  the programs  examples/clients, docs/howto/grpcurl.md"
    )


def _host(settings: Settings) -> str:
    return "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.host  # noqa: S104  # not listened on


async def _show() -> None:
    # Loaded here, so that `quasar --help` does not wait for gRPC and the contract.
    from quasar.client.platform import Platform
    from quasar.demo.show import show

    async with Platform.read(os.environ) as platform:
        click.echo("The demonstration:")
        await show(platform, click.echo)
