"""`quasar up`, `down`, `status`, `version`: the platform on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import click

from quasar.cli import tables
from quasar.clock import Clock, SystemClock
from quasar.config import GATEWAY, PARTS, Home, Part, Settings
from quasar.errors import StartupError
from quasar.supervisor import lock

_NAMES = [part.name for part in PARTS]
DOWN_S = 60.0


@click.command()
@click.option("--only", metavar="PARTS", help=f"Run only these, separated by commas: {', '.join(_NAMES)}.")
@click.option("--no-gateway", is_flag=True, help="Run the services without the gateway and its page.")
def up(only: str | None, no_gateway: bool) -> None:
    """Start the database, the services and the gateway, and keep them running.

    The first start makes everything that is needed in the home: a private PostgreSQL, the secret that all keys are
    derived from, and a token for the administrator. What dies is started again. Ctrl-C stops everything in order.
    """
    # The supervisor starts processes as another account, by fork and exec, while it has gRPC's threads; gRPC's fork
    # handlers crash such children before they get to exec. It and its children never go on without an exec.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from quasar.supervisor.merged_log import MergedLog
    from quasar.supervisor.up import NAMES, Platform

    parts = _chosen(only, no_gateway)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    log = MergedLog(sys.stdout, NAMES, colours=colours)
    asyncio.run(Platform(os.environ, parts, log, SystemClock()).run())


def _chosen(only: str | None, no_gateway: bool) -> list[Part]:
    names = [name.strip() for name in only.split(",")] if only is not None else _NAMES
    if unknown := [name for name in names if name not in _NAMES]:
        raise click.BadParameter(f"must be some of {', '.join(_NAMES)}, was {unknown[0]!r}", param_hint="--only")
    return [part for part in PARTS if part.name in names and not (no_gateway and part is GATEWAY)]


@click.command()
def down() -> None:
    """Stop the `quasar up` that runs on this home, and wait until it has."""
    home = Home.read(os.environ)
    pid = lock.holder(home.lock)
    if pid is None:
        click.echo(f"Nothing runs on {home.path}.")
        return
    os.kill(pid, signal.SIGTERM)
    if not asyncio.run(_gone(home, SystemClock())):
        raise StartupError(
            f"The platform (process {pid}) did not stop within {DOWN_S:g} s; see {home.logs}/quasar.log."
        )
    click.echo("Stopped.")


async def _gone(home: Home, clock: Clock) -> bool:
    deadline = clock.monotonic() + DOWN_S
    while lock.holder(home.lock) is not None:
        if clock.monotonic() > deadline:
            return False
        await clock.sleep(0.05)
    return True


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--service", "part", type=click.Choice(_NAMES), help="Ask only this one, whoever started it.")
def status(as_json: bool, part: str | None) -> int:
    """Show what runs on this home and how it is. The exit code is 0 when everything that runs is ready."""
    if part is not None:
        return asyncio.run(_status_of(next(each for each in PARTS if each.name == part)))
    from quasar.supervisor.status import read_status

    home = Home.read(os.environ)
    found = asyncio.run(read_status(home, os.environ, SystemClock()))
    if as_json:
        click.echo(tables.as_json(found))
    elif not found.running:
        click.echo(f"Nothing runs on {home.path}; start it with `quasar up`.")
    else:
        click.echo(f"Quasar {found.version} on {home.path}, up for {tables.span(found.uptime_s or 0.0)}\n")
        rows = [
            (p.name, p.state, p.address, p.pid or "", tables.size(p.memory_bytes), tables.span(p.uptime_s), p.restarts)
            for p in found.processes
        ]
        click.echo(tables.table(("PART", "STATE", "ADDRESS", "PID", "MEMORY", "UP FOR", "RESTARTS"), rows))
        for process in found.processes:
            if process.detail:
                click.echo(f"\n{process.name}: {process.detail}")
    return 0 if found.ready else 1


async def _status_of(part: Part) -> int:
    """Ask one process of this machine, for a container that runs nothing else."""
    from quasar.supervisor.probes import Answer, Probe

    probe = Probe(Settings.read(part, os.environ))
    try:
        answer = await probe.ask()
    finally:
        await probe.close()
    click.echo(f"{part.name} at {probe.address}: {answer.value}")
    return 0 if answer is Answer.READY else 1


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def version(as_json: bool) -> None:
    """Print the version."""
    from quasar.ops.identity import platform_version

    click.echo(tables.as_json({"version": platform_version()}) if as_json else f"quasar {platform_version()}")


COMMANDS = (up, down, status, version)
