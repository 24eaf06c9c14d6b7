"""`quasar registry` and its like: one process of the platform in the foreground."""

from __future__ import annotations

import os
import sys

import click

from quasar.config import PARTS, Part

_ABOUT = {
    "registry": "what exists: code, assets, mappings, indices, subscriptions",
    "datahub": "market data: collection, storage, live streams",
    "strategy": "strategies, back-tests, orders, portfolio",
    "gateway": "the page and grpc-web",
}


def _command(part: Part) -> click.Command:
    about = _ABOUT[part.name]

    def run() -> None:
        # The process becomes the service: signals, exit code and memory are its own.
        os.execv(sys.executable, [sys.executable, "-P", "-m", part.module])  # noqa: S606  # fixed arguments

    return click.Command(
        name="strategy-engine" if part.name == "strategy" else part.name,
        callback=run,
        short_help=f"Run the {part.name} alone ({about}).",
        help=(
            f"Run the {part.name} in the foreground: {about}.\n\n"
            f"It listens on {part.port_variable} ({part.default_port}) and uses QUASAR_DATABASE_URL, else the embedded "
            "PostgreSQL of a `quasar up` on the same home."
        ),
    )


@click.command(short_help="Open the operators' console in this terminal.")
@click.option("--readonly", is_flag=True, help="Take the keys that change something away.")
def tui(readonly: bool) -> None:
    """Open the operators' console: services, providers, runs, live ticks, gaps, strategies, orders, logs.

    It calls the services of QUASAR_REGISTRY_ADDRESS and its like with QUASAR_TOKEN, else with the administrator's token
    of this home.
    """
    flags = ["--readonly"] if readonly else []
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tui", *flags])  # noqa: S606  # fixed arguments


COMMANDS = (*(_command(part) for part in PARTS), tui)
