"""What differs between two versions: files as a unified diff, manifests field by field."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from registry.code.archives import SourceFile, renamed


class FileChange(StrEnum):
    """What happened to a file."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    MODIFIED = "MODIFIED"


@dataclass(frozen=True, slots=True)
class FileDiff:
    """The difference between two versions of a file."""

    path: str
    change: FileChange
    unified_diff: str
    """Empty when a side is not text."""
    lines_added: int
    lines_removed: int


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """The difference between two versions in one field of the manifest."""

    field: str
    before: Any
    after: Any


def file_diffs(older: Sequence[SourceFile], newer: Sequence[SourceFile], context_lines: int) -> list[FileDiff]:
    """Return the files that differ, by path. Two single files are compared whatever they are called."""
    if len(older) == len(newer) == 1 and older[0].path != newer[0].path:
        older = renamed(older, newer[0].path)
    before = {file.path: file for file in older}
    after = {file.path: file for file in newer}
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is not None and new is not None and old.content == new.content:
            continue
        found.append(_file_diff(path, old, new, context_lines))
    return found


def _file_diff(path: str, old: SourceFile | None, new: SourceFile | None, context_lines: int) -> FileDiff:
    change = FileChange.ADDED if old is None else FileChange.REMOVED if new is None else FileChange.MODIFIED
    before = "" if old is None else old.text
    after = "" if new is None else new.text
    if before is None or after is None:
        return FileDiff(path, change, "", 0, 0)
    labels = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    lines = list(_unified(before, after, labels, context_lines))
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    return FileDiff(path, change, "".join(lines), added, removed)


def _unified(before: str, after: str, labels: tuple[str, str], context_lines: int) -> Iterator[str]:
    """Yield the lines of a unified diff as `diff -u` writes them, a missing line end at the end of a file included."""
    # Only a line feed ends a line here, as for `diff`; a form feed in the middle of a source is text.
    old, new = list(io.StringIO(before, newline="\n")), list(io.StringIO(after, newline="\n"))
    for line in difflib.unified_diff(old, new, *labels, n=context_lines):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def manifest_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ManifestChange]:
    """Return the fields of two manifests that differ, by path; preferences and secrets are named one by one."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return [
        ManifestChange(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


_KEYED = {"preferences": "path", "secrets": "name"}


def _flat(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field, value in manifest.items():
        key = _KEYED.get(field)
        if key is None:
            yield field, value
            continue
        for item in value:
            yield f"{field}.{item.get(key, '')}", {name: one for name, one in item.items() if name != key}
