"""The example of a plug-in in Go, built and packed as its first lines say."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

_UNREACHABLE = re.compile("dial tcp|no such host|i/o timeout|GOPROXY=off|disabled by GOFLAGS")
FOLDER = Path(__file__).resolve().parents[1] / "examples" / "plugins" / "go"


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tides(scratch: Path) -> bytes:
    """Return the zip of the example; skips the test where there is no Go, or no way to the modules it needs."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go toolchain to build the example with")
    program = scratch / "tides"
    command = [go, "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags=-s -w", "-o", str(program), "."]
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    built = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=300, check=False)
    if built.returncode and _UNREACHABLE.search(built.stderr):
        pytest.skip("the Go modules of the example are not on this machine, and no registry of modules answers")
    assert built.returncode == 0, built.stderr
    return packed({"plugin.toml": (FOLDER / "plugin.toml").read_bytes(), "tides": program.read_bytes()})
