"""What an operator is told when the embedded PostgreSQL cannot run: a sentence with a remedy, and the log below."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from quasar.database.failures import EmbeddedPostgresError, explain_creation, explain_log, explain_os_error
from quasar.errors import DatabaseUnavailable

HOME = Path("/home/ann/.quasar/db")


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("PANIC:  could not write to file \"pg_wal/x\": No space left on device", "the disk that holds .* is full"),
        ("FATAL:  could not write lock file \"postmaster.pid\": No space left on device", "free some space"),
        ("PANIC:  could not locate a valid checkpoint record at 0/1", "is damaged; restore it from a backup"),
        ("FATAL:  could not open file \"global/pg_control\": No such file or directory", "is damaged"),
        ("LOG:  invalid primary checkpoint record\nPANIC:  could not locate", "is damaged"),
        ("FATAL:  could not open file \"pg_wal/0001\": Permission denied", "must be able to read and write everything"),
        ("FATAL:  data directory \"/x\" has wrong ownership", "must belong to the account"),
        ("FATAL:  data directory \"/x\" has invalid permissions", "with permissions 0700"),
        ("FATAL:  database files are incompatible with server", "made by another build of PostgreSQL"),
        ("FATAL:  could not map anonymous shared memory: Cannot allocate memory", "too little memory"),
        ("FATAL:  the moon is full", "stopped; its log says why"),
    ],
)  # fmt: skip
def test_a_log_becomes_a_sentence_with_the_log_below(log: str, sentence: str) -> None:
    error = explain_log(HOME, log)
    with pytest.raises(EmbeddedPostgresError, match=sentence):
        raise error
    assert "\n" not in error.sentence
    assert error.log_tail == log
    assert log.splitlines()[0] in str(error)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("initdb: error: could not look up effective user ID 4711: user does not exist", "an entry in /etc/passwd"),
        ("PANIC:  could not write: No space left on device", "is full"),
        ('initdb: error: file "/x/share/postgres.bki" does not exist', "could not be created; check the programs"),
    ],
)
def test_a_database_that_could_not_be_created_is_not_called_damaged(said: str, sentence: str) -> None:
    error = explain_creation(HOME, said)
    assert sentence in error.sentence
    assert "damaged" not in error.sentence


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk that holds /home/ann/.quasar/db is full"),
        (errno.EDQUOT, "is full"),
        (errno.EACCES, "/some/path must be writable by the user who runs Quasar .*set QUASAR_HOME"),
        (errno.EROFS, "must be writable"),
        (errno.ENOTDIR, "/some/path must be a folder"),
        (errno.EIO, "/some/path cannot be used for the database"),
    ],
)
def test_an_error_of_the_file_system_names_the_path_and_the_remedy(number: int, sentence: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match=sentence):
        raise explain_os_error(HOME, OSError(number, "text of the system", "/some/path"))


def test_a_failed_server_means_that_the_database_is_unavailable() -> None:
    assert isinstance(explain_log(HOME, ""), DatabaseUnavailable)
