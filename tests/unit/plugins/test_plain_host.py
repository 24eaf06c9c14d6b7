"""The host of a plug-in runs on asyncio's own loop: another one waits in ways that the jail forbids."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quasar.plugins.host import application
from quasar.plugins.jail.spec import Spec


def test_the_host_runs_on_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[type[Any]] = []

    async def serve(_spec: Spec, _posture: list[Any]) -> None:
        ran.append(type(asyncio.get_running_loop()))

    monkeypatch.setattr(application, "serve", serve)
    application.run(Spec(kind="provider", name="x", socket="p", host_socket="h", run_folder=".", scratch="."), [])
    assert ran[0].__module__.startswith("asyncio.")


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
