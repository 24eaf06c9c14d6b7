"""`quasar upload` and `quasar code` against a registry that runs: what an author sees, and what is stored."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.integration.registry.stage import Stage, source

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def quasar(stage: Stage, folder: Path, *words: str, who: str = "admin") -> tuple[int, str, str]:
    """Run a command as somebody; return exit code, output and errors."""
    env = {
        "PATH": "/usr/bin:/bin",
        "QUASAR_HOME": str(folder / "home"),
        "QUASAR_REGISTRY_ADDRESS": stage.target,
        "QUASAR_TOKEN": stage.tokens[who],
    }
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "quasar.cli", *words]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=env, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_an_upload_is_stored_with_its_secrets_and_runs(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "alpha.py").write_bytes(source("alpha"))
    (tmp_path / "alpha.env").write_text("# of the vendor\nkey = from-file\nother=x=y\n")
    code, out, err = await quasar(
        stage, tmp_path, "upload", "provider", "alpha.py", "--secrets-file", "alpha.env", "--secret", "key=from-line"
    )
    assert (code, out, err) == (0, "provider alpha: version 1, runs\n", "")
    assert dict(stage.datahub.validated[-1].secrets) == {"key": "from-line", "other": "x=y"}
    again = await quasar(stage, tmp_path, "upload", "provider", "alpha.py")
    assert again[1] == "provider alpha: version 1 was stored already, runs\n"


async def test_a_refused_upload_shows_its_report_and_ends_with_1(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("this is no code the played validator understands")
    code, out, err = await quasar(stage, tmp_path, "upload", "provider", "bad.py")
    assert (code, err) == (1, "")
    assert "error" in out
    assert "refused" in out
    code, out, _ = await quasar(stage, tmp_path, "upload", "provider", "bad.py", "--json")
    told = json.loads(out)
    assert (code, told["stored"], told["report"]["passed"]) == (1, False, False)


async def test_a_former_version_runs_again_when_it_is_activated(stage: Stage, tmp_path: Path) -> None:
    for interval in ("1h", "1d"):
        (tmp_path / "beta.py").write_bytes(source("beta", intervals=[interval]))
        await quasar(stage, tmp_path, "upload", "provider", "beta.py")
    assert await quasar(stage, tmp_path, "code", "activate", "provider", "beta", "1") == (
        0,
        "provider beta: version 1 runs\n",
        "",
    )
    _, out, _ = await quasar(stage, tmp_path, "code", "list", "--kind", "provider", "--json")
    found = next(one for one in json.loads(out) if one["name"] == "beta")
    assert (found["active_version"], found["latest_version"]) == (1, 2)
    assert (await quasar(stage, tmp_path, "code", "activate", "provider", "beta"))[
        1
    ] == "provider beta: version 2 runs\n"


async def test_who_may_not_upload_is_told_so_in_a_sentence(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "alpha.py").write_bytes(source("alpha"))
    code, out, err = await quasar(stage, tmp_path, "upload", "provider", "alpha.py", who="viewer")
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert "Traceback" not in err


async def test_settings_of_built_in_code_are_shown_changed_and_taken_back(stage: Stage, tmp_path: Path) -> None:
    await stage.until_built_ins()
    (tmp_path / "eodhd.env").write_text("api_token = hunter2\n")
    set_up = ("code", "settings", "provider", "eodhd")
    code, out, err = await quasar(stage, tmp_path, *set_up)
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "needed" in lines["api_token"]
    code, out, err = await quasar(
        *(stage, tmp_path, *set_up, "--secrets-file", "eodhd.env"),
        *("--set", "scheduling.delay_hours=3", "--set", "prices=adjusted", "--set", "data.lookback_days=30"),
    )
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "sealed" in lines["api_token"]
    assert "hunter2" not in out
    assert lines["scheduling.delay_hours"].split()[1:4] == ["3", "hours", "yes"]
    assert lines["prices"].split()[1:3] == ["adjusted", "yes"]
    refused = await quasar(stage, tmp_path, *set_up, "--set", "scheduling.delay_hours=99")
    assert refused[0] == 1
    assert "scheduling.delay_hours must be between 0 and 24, was 99" in refused[2]
    code, out, _ = await quasar(stage, tmp_path, *set_up, "--unset", "prices", "--json")
    told = {one["path"]: (one["value"], one["stored"]) for one in json.loads(out)["preferences"]}
    assert code == 0
    assert told["prices"] == ("raw", False)
    assert told["data.lookback_days"] == (30, True)
    unknown = await quasar(stage, tmp_path, "code", "settings", "provider", "nobody")
    assert unknown[0] == 1
    assert "nobody" in unknown[2]
