"""One running platform for all clients, and the programs that are driven."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from quasar.client.platform import Platform
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.registry.v1 import asset_service_pb2
from tests.acceptance.harness import Installation, up

ROOT = Path(__file__).resolve().parents[3]
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """The variables by which a program finds a running platform that knows the simulated symbols."""
    installation = Installation.at(tmp_path_factory.mktemp("clients") / "home")
    async with AsyncExitStack() as stack:
        stack.callback(installation.end)
        running = await stack.enter_async_context(up(installation))
        await running.ready()
        quasar = await stack.enter_async_context(Platform.read(installation.environment))
        source = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="simulated")
        started = await quasar.assets.SyncAssets(asset_service_pb2.SyncAssetsRequest(source=source))
        await quasar.finished(started.operation)
        token = quasar.channels["registry"].settings.token_file
        assert token is not None
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")},
            "QUASAR_HOME": str(installation.home),
            "QUASAR_TOKEN": (installation.home / "admin.token").read_text(encoding="utf-8").strip(),
            "QUASAR_REGISTRY_ADDRESS": f"127.0.0.1:{installation.port('registry')}",
            "QUASAR_DATAHUB_ADDRESS": f"127.0.0.1:{installation.port('datahub')}",
            "QUASAR_STRATEGY_ADDRESS": f"127.0.0.1:{installation.port('strategy')}",
        }


@pytest.fixture(scope="session")
def go() -> str:
    """Go, or a skip that says that it is absent."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        pytest.skip("Go is not installed; with it the Go client and grpcurl are tested")
    return found


@pytest.fixture(scope="session")
def node() -> str:
    """Node, or a skip that says what is absent."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed; with it the TypeScript client is tested")
    if not (ROOT / "node_modules" / "@connectrpc" / "connect-node").is_dir():
        pytest.skip("node_modules has no @connectrpc/connect-node; `npm ci` installs it")
    return found


@pytest.fixture(scope="session")
def grpcurl(go: str) -> Path:
    """The real grpcurl, built once from its module and kept below `.build`."""
    folder = ROOT / ".build" / "go-tools"
    program = folder / "grpcurl"
    if not program.exists():
        done = subprocess.run(
            [go, "install", GRPCURL],
            env={**os.environ, "GOBIN": str(folder)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"grpcurl cannot be built: {done.stderr.strip()[-300:]}")
    return program
