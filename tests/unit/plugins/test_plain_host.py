"""The host of a plug-in runs on the loop of services where it can, and loads nothing that plug-ins do not need."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quasar.plugins.host import application
from quasar.plugins.jail import seccomp
from quasar.plugins.jail.spec import Spec

SPEC = Spec(kind="provider", name="x", socket="p", host_socket="h", run_folder=".", scratch=".")


def ran(monkeypatch: pytest.MonkeyPatch, forbid: Callable[[], None]) -> list[str]:
    """Run the host without serving; return what was done, ending with the module of its loop."""
    done: list[str] = []

    async def serve(_spec: Spec, _posture: list[Any]) -> None:
        done.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    def forbid_rings() -> None:
        done.append("rings forbidden")
        forbid()

    def new_event_loop() -> asyncio.AbstractEventLoop:
        done.append("loop made")
        return make()

    uvloop = pytest.importorskip("uvloop")
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    monkeypatch.setattr(application, "serve", serve)
    monkeypatch.setattr(seccomp, "supported", lambda: True)
    monkeypatch.setattr(seccomp, "forbid_rings", forbid_rings)
    monkeypatch.setattr(uvloop, "new_event_loop", new_event_loop)
    application.run(SPEC, [])
    return done


def test_rings_are_forbidden_before_there_is_a_loop_that_could_wait_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch, lambda: None) == ["rings forbidden", "loop made", "uvloop"]


def test_where_rings_cannot_be_forbidden_the_host_runs_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(1, "refused")

    assert ran(monkeypatch, refuse) == ["rings forbidden", "asyncio"]


def test_nothing_of_a_plug_ins_process_loads_another_loop_or_the_services_libraries() -> None:
    program = (
        "import sys, quasar.plugins.host.application, quasar.provider, quasar.plugins.host.provider_service;"
        "heavy = ('uvloop', 'asyncpg', 'cryptography', 'quasar.secrets', 'aiohttp');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
