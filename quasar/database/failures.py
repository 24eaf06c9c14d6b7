"""What can keep the embedded PostgreSQL from running, each said in one sentence with its remedy."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from quasar.errors import DatabaseUnavailable

LOG_LINES = 12
"""Lines of the server's log that an error carries."""


class EmbeddedPostgresError(DatabaseUnavailable):
    """The embedded PostgreSQL cannot run."""

    def __init__(self, sentence: str, *, log_tail: str = "") -> None:
        """Keep the sentence for the operator and the last lines of the server's log below it."""
        self.sentence = sentence
        self.log_tail = log_tail.strip()
        super().__init__(f"{sentence}\n{_indented(self.log_tail)}" if self.log_tail else sentence)


_FULL = "the disk that holds {home} is full; free some space and start again, nothing is lost"
_FROM_BACKUP = "restore it from a backup, or move it away to begin with an empty database; nothing in it was changed"
_FILE_ACTION = r"could not (?:open|read|write|create|access|rename|remove|stat)[^\n]*"

# The first pattern that is found decides, so the more precise ones stand first.
_AROUND_IT: Mapping[str, str] = {
    r"No space left on device|Disk quota exceeded|File too large|Check free disk space": _FULL,
    r"could not (?:create|resize|map|open) shared memory|Cannot allocate memory|could not fork": (
        "there is too little memory for PostgreSQL; close other programs or give the container more memory"
    ),
    r"could not look up effective user ID": (
        "PostgreSQL needs a user that the system knows; run Quasar as a user with an entry in /etc/passwd, "
        "or set QUASAR_DATABASE_URL"
    ),
    r"has wrong ownership|has invalid permissions|must be owned by": (
        "the database folder {home} must belong to the account that runs PostgreSQL, with permissions 0700; "
        "correct them with chown and chmod"
    ),
    _FILE_ACTION + r": (?:Permission denied|Read-only file system|Operation not permitted)": (
        "PostgreSQL must be able to read and write everything below {home}; "
        "correct the owner and the permissions with chown and chmod"
    ),
}
_INSIDE_IT: Mapping[str, str] = {
    r"database files are incompatible|initialized by PostgreSQL version": (
        "the database folder {home} was made by another build of PostgreSQL, or is damaged; "
        f"start with that build (QUASAR_PG_BIN), or {_FROM_BACKUP}"
    ),
    r"checkpoint record|control file|PANIC:|not a valid data directory|does not exist|invalid page|checksum|corrupt": (
        f"the database folder {{home}} is damaged; {_FROM_BACKUP}"
    ),
    r"invalid data in|syntax error in file|" + _FILE_ACTION: f"the database folder {{home}} is damaged; {_FROM_BACKUP}",
}


def explain_log(home: Path, log_tail: str) -> EmbeddedPostgresError:
    """Turn the last lines of the server's log into an error with a remedy."""
    otherwise = "the embedded PostgreSQL in {home} stopped; its log says why"
    return _explained(home, log_tail, {**_AROUND_IT, **_INSIDE_IT}, otherwise)


def explain_creation(home: Path, log_tail: str) -> EmbeddedPostgresError:
    """Turn the last lines of what initdb said into an error; there was nothing yet that could be damaged."""
    otherwise = (
        "the database in {home} could not be created; check the programs (QUASAR_PG_BIN) or set QUASAR_DATABASE_URL"
    )
    return _explained(home, log_tail, _AROUND_IT, otherwise)


def _explained(home: Path, log_tail: str, patterns: Mapping[str, str], otherwise: str) -> EmbeddedPostgresError:
    """Return the sentence of the first pattern that is found in a log."""
    sentence = next((text for pattern, text in patterns.items() if re.search(pattern, log_tail)), otherwise)
    return EmbeddedPostgresError(sentence.format(home=home), log_tail=log_tail)


def explain_os_error(home: Path, error: OSError) -> EmbeddedPostgresError:
    """Turn an error of the file system into an error with a remedy."""
    path = error.filename or home
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return EmbeddedPostgresError(_FULL.format(home=home))
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return EmbeddedPostgresError(
            f"{path} must be writable by the user who runs Quasar ({error.strerror}); "
            "correct its permissions or set QUASAR_HOME to another folder"
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return EmbeddedPostgresError(
            f"{path} must be a folder, was something else; move it away or set QUASAR_HOME to another folder"
        )
    return EmbeddedPostgresError(f"{path} cannot be used for the database: {error.strerror}")


def tail(text: str, lines: int = LOG_LINES) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])


def _indented(text: str) -> str:
    """Set a log apart from the sentence above it."""
    return "\n".join(f"    {line}" for line in text.splitlines())
