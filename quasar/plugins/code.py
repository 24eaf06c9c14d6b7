"""One version of a piece of code, and the read-only files that processes load it from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quasar import errors
from quasar.plugins.manifest import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVersion:
    """What is to run: uploaded source, or a class of the platform."""

    kind: Kind
    name: str
    """Its name in the registry."""
    version: int = 0
    """Its version in the registry; 0: built-in, or not stored."""
    source: bytes = b""
    """The uploaded file; empty: built-in."""
    file_name: str = ""
    """What the author called it (`feed.py`, `feed.zip`)."""
    sha256: str = ""
    """Of the source; empty: computed."""
    builtin: str = ""
    """`module:Class` of code that is part of the platform."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    preferences: Mapping[str, Any] = field(default_factory=dict)
    """Nested as their paths, or flat."""
    ports: tuple[int, ...] | None = None
    """TCP ports of the manifest's hosts, where they are known; None: they are found out."""

    def __post_init__(self) -> None:
        """Check that there is code, and that it is what it should be.

        Raises:
            CodeRejected: The bytes have another SHA-256.
            InvalidArgument: Neither source nor a class of the platform is given.
        """
        if bool(self.source) == bool(self.builtin):
            raise errors.InvalidArgument(f"code of {self.name} must be either source or a built-in class")
        if self.source:
            found = hashlib.sha256(self.source).hexdigest()
            if self.sha256 and self.sha256 != found:
                raise errors.CodeRejected(f"code of {self.name} must have SHA-256 {self.sha256}, was {found}")
            object.__setattr__(self, "sha256", found)
            object.__setattr__(self, "file_name", Path(self.file_name or f"{self.name}.py").name)

    @property
    def same_code(self) -> tuple[object, ...]:
        """What differs between two versions that need different processes."""
        return (self.kind, self.name, self.version, self.sha256, self.builtin, self.file_name)


class CodeFolder:
    """Keeps the files of versions, one folder each, written once and never changed."""

    def __init__(self, root: Path) -> None:
        """Keep them below `root`, which is made when it is needed."""
        self._root = root

    def materialise(self, code: CodeVersion) -> str:
        """Return the path of a version's file, written when it is not there; empty for built-in code."""
        if not code.source:
            return ""
        folder = self._root / f"{code.kind.value}-{code.name}-{code.version}-{code.sha256[:16]}"
        path = folder / code.file_name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == code.sha256:
            return str(path)
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        folder.chmod(0o755)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as written:
            written.write(code.source)
            os.fchmod(written.fileno(), 0o444)
        Path(written.name).replace(path)
        with contextlib.suppress(OSError):
            folder.chmod(0o555)
        return str(path)
