"""The account that the embedded PostgreSQL runs under: one's own, or as root another one, since it refuses root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quasar.database.failures import EmbeddedPostgresError

_CANDIDATES = ("postgres", "nobody")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """Who runs the server."""

    name: str
    """Login name; initdb needs one that the system knows."""
    uid: int
    """User id."""
    gid: int
    """Primary group id."""
    switches: bool
    """Whether processes must change to this account, that is, whether this process is root's."""

    def process_options(self) -> dict[str, Any]:
        """Return the arguments of `subprocess` that run a program under this account with a clean environment.

        `/` as working folder keeps the program from failing on one that the account cannot enter.
        """
        options: dict[str, Any] = {"env": dict(_ENVIRONMENT), "cwd": "/"}
        if self.switches:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def own(self, path: Path) -> None:
        """Give a file or folder to this account; nothing to do when it is one's own."""
        if self.switches:
            os.chown(path, self.uid, self.gid)


def server_account(existing: Path | None = None) -> ServerAccount:
    """Choose the account.

    Args:
        existing: A data folder that exists already; as root its owner stays the account.

    Raises:
        EmbeddedPostgresError: Root finds no account to switch to, or the data folder belongs to another user.
    """
    owner = existing.stat().st_uid if existing is not None else None
    if os.geteuid() != 0:
        return _own_account(existing, owner)
    if owner:
        return _known_account(owner, existing)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid, switches=True)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root and this system has neither a 'postgres' nor a 'nobody' account; "
        "create one, run Quasar as an ordinary user, or set QUASAR_DATABASE_URL"
    )


def _own_account(existing: Path | None, owner: int | None) -> ServerAccount:
    """Return the account of this process, which must own the data."""
    uid = os.geteuid()
    if owner is not None and owner != uid:
        raise EmbeddedPostgresError(
            f"the database folder {existing} belongs to {_name_of(owner)} and you are {_name_of(uid)}; "
            f"run Quasar as that user, or hand the folder over with: sudo chown -R {_name_of(uid)} {existing}"
        )
    return ServerAccount(_name_of(uid), uid, os.getegid(), switches=False)


def _known_account(uid: int, existing: Path | None) -> ServerAccount:
    """Return the account that owns the data folder."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedPostgresError(
            f"the database folder {existing} belongs to user id {uid}, which this system does not know; "
            f"hand it to an account of this system with: chown -R postgres {existing}"
        ) from None
    return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid, switches=True)


def _name_of(uid: int) -> str:
    """Return the login name of a user id, or the id itself."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
