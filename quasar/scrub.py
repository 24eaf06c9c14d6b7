"""Keeps secrets out of the log: by the name of the field, and by the look of the value."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

HIDDEN: Final = "***"

_KEY: Final = re.compile(
    r"secret|token|passw|authorization|bearer|credential|api[_-]?key|private[_-]?key|cookie", re.IGNORECASE
)
# Two looks of a secret inside a text: what follows the word Bearer, and the password of a URL.
_BEARER: Final = re.compile(r"(?i)\b(bearer)[\s:=]+[A-Za-z0-9._~+/=-]{8,}")
_URL: Final = re.compile(r"(\w://[^\s:/@]*):[^\s@/]+@")
_ASSIGNED: Final = re.compile(
    r"(?i)\b((?:[\w-]*(?:secret|passw|token|api[_-]?key))[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)}\]]+"
)
_DEEPEST: Final = 6
_SHORTEST: Final = 8
"""Shorter texts hold no secret worth the name."""
_LONGEST_REMEMBERED: Final = 120
_PLAIN: Final = frozenset({int, float, bool, type(None)})


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Tell whether a field of this name holds a secret."""
    return _KEY.search(key) is not None


def text(value: str) -> str:
    """Return the text with every secret in it replaced."""
    if len(value) < _SHORTEST:
        return value
    return _remembered(value) if len(value) < _LONGEST_REMEMBERED else _text(value)


def _text(value: str) -> str:
    if "://" in value:
        value = _URL.sub(rf"\1:{HIDDEN}@", value)
    if _KEY.search(value):
        value = _ASSIGNED.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", value))
    return value


_remembered = lru_cache(maxsize=1024)(_text)  # method names, principals and events come again and again


def value(key: str, found: Any, depth: int = 0) -> Any:
    """Return what may be logged of the field `key`; containers are scrubbed inside."""
    if is_secret_key(key):
        return HIDDEN
    kind = type(found)
    if kind is str:
        return text(found)
    if kind in _PLAIN:
        return found
    return _other(found, depth)


def _other(found: Any, depth: int) -> Any:
    if isinstance(found, str):
        return text(str(found))
    if depth >= _DEEPEST:
        return "…"
    if isinstance(found, dict):
        return {str(k): value(str(k), v, depth + 1) for k, v in found.items()}
    if isinstance(found, list | tuple | set | frozenset):
        return [value("", v, depth + 1) for v in found]
    return text(found.decode(errors="replace") if isinstance(found, bytes) else str(found))
