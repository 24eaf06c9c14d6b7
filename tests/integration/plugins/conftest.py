"""Plug-ins in their real processes."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from quasar.plugins.code import CodeVersion
from quasar.plugins.containment import Containment
from quasar.plugins.jail.spec import Limits
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.plugins.provider import ProviderHandle

MIB = 1024 * 1024
HANG_S = 4.0
"""Above what a machine with other tests on it may keep a process from answering."""
HEADER = "import asyncio, os, time\nimport numpy as np\nfrom quasar.provider import *\n"


def provider_code(body: str, name: str = "mine", **fields: Any) -> CodeVersion:
    """Return a provider whose class has `body`."""
    source = f"{HEADER}\n\nclass Mine(Provider):\n    name = {name!r}\n    intervals = ('1min',)\n"
    source += textwrap.indent(textwrap.dedent(body), "    ")
    return CodeVersion(kind=Kind.PROVIDER, name=name, source=source.encode(), file_name=f"{name}.py", **fields)


@dataclass
class Plugins:
    """A pool with what it told."""

    pool: PluginPool
    notices: list[Containment] = field(default_factory=list)

    async def provider(self, body: str, name: str = "mine", **fields: Any) -> ProviderHandle:
        """Run a provider whose class has `body`."""
        return await self.pool.provider(provider_code(body, name, **fields))


OpenPool = Callable[..., Plugins]


@pytest.fixture
async def plugins(tmp_path: Path) -> AsyncIterator[Plugins]:
    """Plug-ins with short patience, so that tests are short."""
    notices: list[Containment] = []
    settings = ProcessSettings(service="tests", health_s=0.2, hang_s=HANG_S, grace_s=1.0, start_s=15.0)
    limits = replace(Limits(), memory_bytes=128 * MIB, scratch_bytes=8 * MIB, file_bytes=4 * MIB)
    folder = tmp_path / "code"
    async with PluginPool(folder, settings=settings, limits=lambda _: limits, on_containment=notices.append) as pool:
        yield Plugins(pool, notices)
