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
