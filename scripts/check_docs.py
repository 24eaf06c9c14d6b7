"""Check that the documentation is true where a program can tell: links lead somewhere, verbs and settings exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")
_VARIABLE = re.compile(r"\bQUASAR_[A-Z0-9_]+\b")
_MAKE = re.compile(r"`make ([a-z-]+)")
_COMMAND = re.compile(r"`quasar ([a-z-]+)")
_SOURCES = ("*.py", "*.yml", "Makefile", "Dockerfile", "*.ts", "*.toml")


def pages() -> Iterator[Path]:
    """Yield the pages that people read; generated ones are left out."""
    for path in [
        *ROOT.glob("*.md"),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]:
        if path.name not in ("api.md", "CHANGELOG.md") and "node_modules" not in path.parts:
            yield path


def settings() -> set[str]:
    """Return every variable that stands in the code."""
    tracked = subprocess.run(["git", "ls-files", *_SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
    found: set[str] = set()
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.is_file():
            found |= set(_VARIABLE.findall(path.read_text(errors="replace")))
    return found | {"QUASAR_REGISTRY_PORT", "QUASAR_DATAHUB_PORT", "QUASAR_STRATEGY_PORT", "QUASAR_GATEWAY_PORT"}


def problems() -> Iterator[str]:
    """Yield what is not true."""
    known = settings()
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    from quasar.cli.__main__ import cli

    commands = set(cli.commands)
    for page in pages():
        text, where = page.read_text(), page.relative_to(ROOT)
        for link in _LINK.findall(text):
            if not (page.parent / link).exists():
                yield f"{where}: the link {link} leads nowhere"
        for name in sorted(set(_VARIABLE.findall(text))):
            base = name.removesuffix("_FILE").rstrip("_")
            if base not in known and not any(one.startswith(base) for one in known):
                yield f"{where}: no program reads {name}"
        yield from (f"{where}: there is no `make {verb}`" for verb in _MAKE.findall(text) if verb not in verbs)
        yield from (f"{where}: there is no `quasar {one}`" for one in _COMMAND.findall(text) if one not in commands)


def main() -> int:
    """Print what is wrong; return the exit code."""
    sys.path.insert(0, str(ROOT))
    found = list(problems())
    print("\n".join(found) or "docs: links, settings and commands are there")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
