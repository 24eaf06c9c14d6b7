"""The folder of the embedded database on disk: its layout, its creation, and whether it is fit to start.

home/                 0700, owned by the account that runs the server
  data/               the cluster; appears whole, by a rename
  run/                the Unix socket
  owner.password      0600, the password of the superuser `quasar`
  server.log          what the server says; the former one is kept as server.log.1
  launcher.lock       held by the process that owns the server
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import platform
from typing import Any

from quasar.database.account import ServerAccount
from quasar.database.binaries import PostgresBinaries
from quasar.database.failures import (
    EmbeddedPostgresError,
    explain_creation,
    explain_log,
    explain_os_error,
    tail,
)

SUPERUSER = "quasar"
"""Name of the role that owns the cluster and the database."""

_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 103 if platform == "darwin" else 107
_LOG_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where one embedded database lives."""

    home: Path
    """The folder that holds everything."""

    @property
    def data(self) -> Path:
        """The cluster itself."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"

    @property
    def password_file(self) -> Path:
        """The file with the owner's password."""
        return self.home / "owner.password"

    @property
    def mark(self) -> str:
        """A setting that names this cluster on the server's command line, by which a running server is recognised."""
        return f"cluster_name=quasar-{self._digest}"

    @property
    def socket_folder(self) -> Path:
        """The folder of the Unix socket: inside the home, or a short one where that path is too long for a socket."""
        inside = self.home / "run"
        fits = len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES and "," not in str(inside)
        # `prepare` makes it 0700 and refuses one that belongs to somebody else.
        return inside if fits else Path("/tmp") / f"quasar-{os.geteuid()}-{self._digest}"  # noqa: S108

    @property
    def _digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]

    def exists(self) -> bool:
        """Tell whether there is a cluster, damaged or not."""
        return self.data.is_dir() and any(self.data.iterdir())

    def major(self) -> int | None:
        """Return the major version that the data folder was made by; None when there is no cluster yet.

        Raises:
            EmbeddedPostgresError: The folder lacks what every cluster has.
        """
        if not self.exists():
            return None
        try:
            return int((self.data / "PG_VERSION").read_text(encoding="utf-8").split(".")[0])
        except FileNotFoundError:
            raise explain_log(
                self.home, f"{self.data} is not a valid data directory: PG_VERSION does not exist"
            ) from None
        except ValueError:
            raise explain_log(
                self.home, f"{self.data} is not a valid data directory: invalid data in PG_VERSION"
            ) from None

    def require_major(self, binaries: PostgresBinaries) -> None:
        """Refuse programs of another major version than the data folder."""
        major = self.major()
        if major is not None and major != binaries.major:
            raise EmbeddedPostgresError(
                f"the database folder {self.data} was made by PostgreSQL {major}, and the programs in "
                f"{binaries.folder} are version {binaries.version}; name the programs of PostgreSQL {major} with "
                f"QUASAR_PG_BIN. To move to version {binaries.major}: dump with the old programs (pg_dump), move the "
                "folder away, start, restore (psql)"
            )

    def prepare(self, account: ServerAccount) -> None:
        """Make the folders that the server needs.

        Raises:
            EmbeddedPostgresError: A folder cannot be made or belongs to somebody else.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not account.switches and self.home.stat().st_uid == account.uid:
                self.home.chmod(0o700)
            account.own(self.home)
            sockets = self.socket_folder
            sockets.mkdir(exist_ok=True, mode=0o700)
            account.own(sockets)
            if sockets.is_symlink() or sockets.stat().st_uid != account.uid:
                raise EmbeddedPostgresError(f"{sockets} must belong to {account.name}; remove it")
            if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
                self.log.replace(self.home / "server.log.1")
        except OSError as error:
            raise explain_os_error(self.home, error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cluster for this process; the lock falls with the process, however that ends.

        Raises:
            EmbeddedPostgresError: Another process holds it.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.home / "launcher.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise explain_os_error(self.home, error) from error
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = file.read().strip() or "another process"
                raise EmbeddedPostgresError(
                    f"the database in {self.home} is run by {holder} already; stop that one first, or use another "
                    "QUASAR_HOME"
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()}")
            file.flush()
            yield

    def password(self) -> str:
        """Return the owner's password, making one (0600) at the first start."""
        try:
            if self.password_file.exists():
                return self.password_file.read_text(encoding="utf-8").strip()
            if self.exists():
                raise EmbeddedPostgresError(
                    f"{self.password_file} is missing and the database in {self.home} cannot be opened without it; "
                    "restore the file from a backup"
                )
            password = secrets.token_urlsafe(32)
            descriptor = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(password + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise explain_os_error(self.home, error) from error
        return password

    def read_log(self, start: int = 0) -> str:
        """Return the log from a position on."""
        try:
            with self.log.open("rb") as file:
                file.seek(start)
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def log_size(self) -> int:
        """Return the present size of the log."""
        return self.log.stat().st_size if self.log.exists() else 0


def create_cluster(cluster: Cluster, binaries: PostgresBinaries, account: ServerAccount, password: str) -> None:
    """Run initdb beside the final place and move the result there, so that a killed first start leaves no half cluster.

    Raises:
        EmbeddedPostgresError: initdb failed.
    """
    staged = cluster.home / "data.init"
    secret = cluster.home / "data.init.password"
    try:
        if staged.exists():
            shutil.rmtree(staged)
        _write_for(account, secret, password)
        with reachable_path(cluster.home, account) as (home, options):
            answer = subprocess.run(
                [binaries.program("initdb"), *_initdb_arguments(binaries, home)],
                capture_output=True,
                text=True,
                check=False,
                **options,
            )
        if answer.returncode != 0:
            shutil.rmtree(staged, ignore_errors=True)
            raise explain_creation(cluster.home, tail(answer.stderr or answer.stdout))
        if cluster.data.exists():
            cluster.data.rmdir()
        staged.rename(cluster.data)
    except OSError as error:
        raise explain_os_error(cluster.home, error) from error
    finally:
        secret.unlink(missing_ok=True)


@contextmanager
def reachable_path(folder: Path, account: ServerAccount) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a path of `folder` that `account` can use, and the process options that make it valid.

    Root's home is closed to other accounts. A program reaches the folder nevertheless through an open descriptor that
    it inherits: Linux resolves `/proc/self/fd/N` without looking at the folders above. So nothing needs to be opened
    for everybody.
    """
    options = account.process_options()
    if not (account.switches and platform == "linux"):
        yield str(folder), options
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", options | {"pass_fds": (descriptor,)}
    finally:
        os.close(descriptor)


def _initdb_arguments(binaries: PostgresBinaries, home: str) -> list[str]:
    """Return the arguments of initdb: UTF-8, checksums, passwords for every way in, one sort order on every system."""
    arguments = ["-D", f"{home}/data.init", "-U", SUPERUSER, f"--pwfile={home}/data.init.password", "-E", "UTF8"]
    arguments += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--data-checksums", "--no-instructions"]
    if binaries.major >= 17:
        return [*arguments, "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [*arguments, "--locale=C.UTF-8" if platform == "linux" else "--locale=C"]


def _write_for(account: ServerAccount, path: Path, text: str) -> None:
    """Write a file that only `account` (and root) can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    account.own(path)
