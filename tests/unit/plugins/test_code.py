"""Code of a version: checked by its SHA-256, written once, read-only."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from quasar import errors
from quasar.plugins.code import CodeFolder, CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.ports import declared_ports

SOURCE = b'class A(Provider):\n    hosts = ("a.example.com", "b.example.com:8443")\n'


def version(**fields: Any) -> CodeVersion:
    usual = {"kind": Kind.PROVIDER, "name": "mine", "file_name": "../x/mine.py", "source": SOURCE}
    return CodeVersion(**{**usual, **fields})


def test_bytes_with_another_sha256_are_refused() -> None:
    with pytest.raises(errors.CodeRejected, match="must have SHA-256 ffff"):
        version(sha256="f" * 64)


def test_there_is_source_or_a_class_of_the_platform() -> None:
    with pytest.raises(errors.InvalidArgument, match="either source or a built-in class"):
        version(builtin="quasar.providers.kraken:KrakenProvider")


def test_a_file_is_written_read_only_and_written_again_when_it_was_changed(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path)
    path = Path(folder.materialise(version(version=3)))
    assert path.parent.parent == tmp_path
    assert path.name == "mine.py"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    path.parent.chmod(0o755)
    path.chmod(0o644)
    path.write_bytes(b"import os")
    assert hashlib.sha256(Path(folder.materialise(version(version=3))).read_bytes()).hexdigest() == version().sha256


def test_secrets_are_not_in_what_is_shown_of_a_version() -> None:
    assert "hunter2" not in repr(version(secrets={"token": "hunter2"}))


def test_ports_are_read_from_the_source_and_from_urls_that_an_operator_set() -> None:
    assert declared_ports(version()) == (443, 8443)
    assert declared_ports(version(preferences={"url": "ws://127.0.0.1:9001/v2", "n": {"u": "http://x/"}})) == (
        80,
        443,
        8443,
        9001,
    )
    assert declared_ports(version(ports=())) == ()
