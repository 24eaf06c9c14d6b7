"""What confines a plug-in process here, told honestly: what the kernel enforces and what it does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

POSTURE_MARK: Final = "quasar-posture "
"""Begins the one line on standard output by which the process says how it is confined; no code of the author's runs
before it."""


@dataclass(frozen=True, slots=True)
class PostureItem:
    """One measure."""

    measure: str
    """`filesystem`, `network`, `memory`, `processes`, `user` …"""
    enforced: bool
    """By the kernel, here."""
    detail: str
    """How, or why not."""


def to_plain(items: Iterable[PostureItem]) -> list[dict[str, object]]:
    """Return the posture as plain values, for JSON."""
    return [asdict(item) for item in items]


def tell_posture(items: Iterable[PostureItem]) -> None:
    """Say how this process is confined, once."""
    sys.__stdout__ and print(POSTURE_MARK + json.dumps(to_plain(items)), file=sys.__stdout__, flush=True)


def from_plain(items: Iterable[Mapping[str, object]]) -> tuple[PostureItem, ...]:
    """Read what `to_plain` returned."""
    return tuple(PostureItem(str(one["measure"]), bool(one["enforced"]), str(one["detail"])) for one in items)
