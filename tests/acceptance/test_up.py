"""`quasar up` in an empty home: everything runs, what dies comes back, and it stops without a trace."""

from __future__ import annotations

import asyncio
import signal
import stat
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from quasar_proto.ops.v1 import event_service_pb2, event_service_pb2_grpc
from tests.acceptance.harness import PARTS, Installation, Up, free_ports, gone, kill, runs, up, with_descendants

pytestmark = [pytest.mark.xdist_group("platform"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """A platform that the tests of this module share; they leave it as they found it."""
    async with up(Installation.at(tmp_path_factory.mktemp("platform") / "home")) as running:
        yield running


def token_of(installation: Installation) -> str:
    return (installation.home / "admin.token").read_text(encoding="utf-8").strip()


def as_(bearer: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {bearer}"),), "timeout": 60}


async def test_everything_is_ready_in_an_empty_home(platform: Up) -> None:
    status = await platform.ready()
    states = {each["name"]: each["state"] for each in status["processes"]}
    assert states == {"quasar": "running", "database": "running", **dict.fromkeys(PARTS, "ready")}
    told = "\n".join(platform.lines)
    home = platform.installation.home
    for shown in (str(home), str(home / "admin.token"), f"http://127.0.0.1:{platform.installation.port('gateway')}"):
        assert shown in told


async def test_what_is_secret_is_for_its_owner_only(platform: Up) -> None:
    home = platform.installation.home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("system_context", "admin.token", "database.url", "registry.url", "datahub.url", "strategy.url"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    told = "\n".join(platform.lines)
    assert token_of(platform.installation) not in told


@pytest.mark.parametrize("part", PARTS[:3])
async def test_each_service_lists_what_it_serves_to_the_administrator(platform: Up, part: str) -> None:
    address = f"127.0.0.1:{platform.installation.port(part)}"
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # its stubs know no asyncio
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = stub.ServerReflectionInfo(iter([request]), **as_(token_of(platform.installation)))
        async for answer in call:
            listed = {each.name for each in answer.list_services_response.service}
            break
    assert {"grpc.health.v1.Health", "quasar.ops.v1.SystemService"} <= listed
    assert any(name.startswith(f"quasar.{part}.v1.") for name in listed)


async def test_a_second_one_on_the_same_home_is_refused(platform: Up) -> None:
    refused = await platform.installation.command("up")
    assert refused.returncode == 1
    assert f"is running on {platform.installation.home} already (process {platform.process.pid})" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout
    assert platform.process.returncode is None


async def test_tokens_are_made_listed_and_revoked_through_the_registry(platform: Up) -> None:
    command = platform.installation.command
    made = await command("token", "create", "ci", "--role", "operator", "--lifetime", "1h")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("qsr_")
    again = await command("token", "create", "ci")
    assert again.returncode == 1
    assert "A token named 'ci' is in force" in again.stderr
    listed = await command("token", "list")
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [["ci", "operator"], ["admin", "admin"]]
    revoked = await command("token", "revoke", "ci")
    assert revoked.returncode == 0, revoked.stderr
    missing = await command("token", "revoke", "ci")
    assert missing.returncode == 1
    assert "No token has the id or name 'ci'" in missing.stderr


async def test_the_database_tells_its_state_and_address(platform: Up) -> None:
    status = await platform.installation.command("db", "status")
    assert status.returncode == 0, status.stderr
    assert "embedded" in status.stdout
    assert "pending" not in status.stdout
    url = await platform.installation.command("db", "url")
    assert url.stdout.startswith("postgresql://")
    refused = await platform.installation.command("secrets", "rotate", "--yes")
    assert refused.returncode == 1
    assert "stop it with `quasar down`" in refused.stderr


@pytest.mark.parametrize("name", [*PARTS, "database"])
async def test_what_is_killed_comes_back_by_itself(platform: Up, name: str) -> None:
    before = platform.installation.processes()
    kill(before[name])
    await gone([before[name]])
    await platform.says(f"{name:<8} │ ended" if name != "database" else "ready again")
    status = await platform.ready()
    after = platform.installation.processes()
    assert after[name] != before[name]
    assert {each: after[each] for each in after if each != name} == {
        each: before[each] for each in before if each != name
    }
    [process] = [each for each in status["processes"] if each["name"] == name]
    assert process["restarts"] == 1


async def test_nothing_acknowledged_is_lost_by_kills_and_a_stop_leaves_no_process(installation: Installation) -> None:
    async with up(installation) as first:
        kept = (await installation.command("token", "create", "kept")).stdout.strip()
        pids = installation.processes()
        services = with_descendants([pids[part] for part in PARTS])
        kill(first.process.pid)
        await first.ended()
        await gone(services)
        assert runs(pids["database"]), "the database is taken over by the next start, not killed"
    async with up(installation, "--only", "registry") as second:
        assert any("taken over" in line for line in second.lines)
        assert await names_of(installation, kept) >= {"TokenCreated"}
        everything = with_descendants(list(installation.processes().values()))
        for pid in everything:
            kill(pid)
        await second.ended()
        await gone(everything)
    async with up(installation) as third:
        assert await names_of(installation, kept) >= {"TokenCreated"}
        everything = with_descendants(list(installation.processes().values()))
        began = asyncio.get_running_loop().time()
        third.process.send_signal(signal.SIGINT)
        assert await third.ended() == 0
        assert asyncio.get_running_loop().time() - began < 40
        assert [pid for pid in everything if runs(pid)] == []
    status = await installation.command("status")
    assert status.returncode == 1
    assert "Nothing runs on" in status.stdout
    listed = await installation.command("token", "list")
    assert "kept" in listed.stdout, "without a running platform the database is asked itself"


async def names_of(installation: Installation, bearer: str) -> set[str]:
    """The kinds of the recorded events, as the owner of a token sees them."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{installation.port('registry')}") as channel:
        stub = event_service_pb2_grpc.EventServiceStub(channel)
        answer = await stub.ListEvents(
            event_service_pb2.ListEventsRequest(filter='kind = "TokenCreated"'), **as_(bearer)
        )
    return {event.kind for event in answer.events}


async def test_some_parts_run_alone_and_down_stops_them(installation: Installation) -> None:
    async with up(installation, "--only", "registry") as running:
        assert set(installation.processes()) == {"quasar", "database", "registry"}
        stopped = await installation.command("down")
        assert (stopped.returncode, stopped.stdout) == (0, "Stopped.\n")
        assert await running.ended() == 0
    again = await installation.command("down")
    assert again.returncode == 0
    assert "Nothing runs on" in again.stdout


async def test_a_port_in_use_is_named_with_its_program(installation: Installation) -> None:
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", installation.port("datahub")
    )
    async with server:
        refused = await installation.command("up")
    assert refused.returncode == 1
    me = psutil.Process()
    port = installation.port("datahub")
    assert f"Port {port} of the datahub is in use by {me.name()} (process {me.pid})" in refused.stderr
    assert "QUASAR_DATAHUB_PORT" in refused.stderr
    assert not (installation.home / "db").exists()


async def test_ports_that_collide_are_refused(installation: Installation) -> None:
    [port] = free_ports(1)
    installation.settings |= {"QUASAR_REGISTRY_PORT": str(port), "QUASAR_STRATEGY_PORT": str(port)}
    refused = await installation.command("up")
    assert refused.returncode == 1
    assert "QUASAR_STRATEGY_PORT must differ from QUASAR_REGISTRY_PORT" in refused.stderr
