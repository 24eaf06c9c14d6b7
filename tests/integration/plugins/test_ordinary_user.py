"""The jail holds for an ordinary user as it does for root: the hostile plug-ins again, from a process without root."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from quasar.plugins.jail import kernel, landlock, seccomp

ROOT = Path(__file__).resolve().parents[3]
USER = 60_123
CASES = ("database", "ports", "fork", "system_context", "scratch_folder_of", "other_processes", "posture", "gibibytes")


def become_ordinary() -> None:
    """Give up root, but for reading Python where it lies in a folder that is closed to others."""
    read_search = 1 << 2
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    data = struct.pack("=6I", read_search, read_search, read_search, 0, 0, 0)
    kernel.syscall({"x86_64": 126, "aarch64": 91}[os.uname().machine], header, ctypes.create_string_buffer(data, 24))
    kernel.prctl(47, 2, 2)  # PR_CAP_AMBIENT_RAISE: keep it over exec


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.skipif(landlock.abi() < 4 or not seccomp.supported(), reason="this kernel lacks Landlock or seccomp")
@pytest.mark.slow
def test_hostile_plug_ins_are_contained_for_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path("/tmp") / f"quasar-ordinary-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--basetemp",
                str(folder / "t"),
                "-k",
                " or ".join(CASES),
                str(ROOT / "tests/integration/plugins/test_hostile_plugins.py"),
            ],
            cwd=ROOT,
            env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"},
            preexec_fn=become_ordinary,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
