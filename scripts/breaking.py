"""Fail when the contract changed in a way that breaks clients of the commit before.

A working tree with changes is compared with the last commit; a clean one with the commit before the last.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(*args: str) -> tuple[int, str]:
    """Run git in the repository; return its exit code and output."""
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


def baseline() -> str | None:
    """Return the commit to compare with, or None when there is none with a contract."""
    dirty = git("status", "--porcelain", "--", "proto")[1]
    commit = "HEAD" if dirty else "HEAD~1"
    code, sha = git("rev-parse", "--verify", "--quiet", commit)
    return sha if code == 0 and git("cat-file", "-e", f"{sha}:buf.yaml")[0] == 0 else None


def main() -> int:
    """Compare and return the exit code."""
    commit = baseline()
    if commit is None:
        print("breaking: nothing to compare with")
        return 0
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "breaking", "--against", f".git#ref={commit}"], cwd=ROOT, check=False)
    if done.returncode == 0:
        print(f"breaking: compatible with {commit[:10]}")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
