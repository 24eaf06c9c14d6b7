"""A client that is not ours, in another language, which knows the services by reflection only."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.integration.rpc.harness import Running

BUF = Path(sys.executable).parent / "buf"

pytestmark = pytest.mark.skipif(not BUF.exists(), reason="buf, a Go client of gRPC, is not installed beside Python")


async def curl(up: Running, who: str, *arguments: str, path: str = "") -> tuple[int, str, str]:
    """Run `buf curl` as a caller; return its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        str(BUF),
        "curl",
        "--protocol=grpc",
        "--http2-prior-knowledge",
        "--reflect-header=*",
        f"--header=authorization: Bearer {who}-token",
        *arguments,
        f"http://{up.address}{path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, problems = await process.communicate()
    return process.returncode or 0, output.decode(), problems.decode()


async def test_it_lists_the_services(up: Running) -> None:
    code, output, _ = await curl(up, "viewer", "--list-services")

    assert code == 0
    assert {"quasar.ops.v1.SystemService", "grpc.health.v1.Health"} <= set(output.split())


async def test_it_lists_nothing_with_a_wrong_token(up: Running) -> None:
    code, output, _ = await curl(up, "wrong", "--list-services")

    assert code != 0
    assert "quasar" not in output


async def test_it_calls_a_method_and_understands_a_failure(up: Running) -> None:
    good = await curl(up, "viewer", "--data={}", path="/quasar.ops.v1.SystemService/GetSystemInfo")
    bad = await curl(up, "admin", '--data={"name": "a b"}', path="/quasar.ops.v1.SystemService/CreateToken")

    assert (good[0], json.loads(good[1])) == (0, {})
    failure = json.loads(bad[2])
    assert failure["code"] == "invalid_argument"
    assert [detail["type"] for detail in failure["details"]] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]
