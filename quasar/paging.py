"""Pages of a list, as in AIP-158: a page size with a default and a bound, and an opaque token bound to its query."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import TypeAlias

from quasar.errors import FieldViolation, InvalidArgument, InvalidCursor

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
Key: TypeAlias = Sequence[str | int]


def page_size(asked: int) -> int:
    """Return the number of rows of a page; 0 asks for the default.

    Raises:
        InvalidArgument: Negative, or above 1000.
    """
    if not 0 <= asked <= MAX_PAGE_SIZE:
        description = f"must be from 0 to {MAX_PAGE_SIZE} (0 means {DEFAULT_PAGE_SIZE}), was {asked}"
        raise InvalidArgument(f"page_size {description}.", violations=[FieldViolation("page_size", description)])
    return asked or DEFAULT_PAGE_SIZE


def page_token(query: Sequence[str], key: Key) -> str:
    """Return the token of the page that begins after a row.

    Args:
        query: What the pages are pages of: the method, filter and ordering. A token fits no other query.
        key: The sort key of the last row that was given.
    """
    content = json.dumps([_fingerprint(query), _checksum(key), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def page_key(query: Sequence[str], token: str) -> list[str | int] | None:
    """Return the sort key that a token holds, or None for the first page (an empty token).

    Raises:
        InvalidCursor: The token is no token, or belongs to a query with another filter or ordering.
    """
    if not token:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        content = None
    if not isinstance(content, list) or len(content) < 3 or not all(isinstance(part, str | int) for part in content):
        raise _invalid("must be the next_page_token of the page before, unchanged", token)
    fingerprint, checksum, *key = content
    if checksum != _checksum(key):
        raise _invalid("must be the next_page_token of the page before, unchanged", token)
    if fingerprint != _fingerprint(query):
        raise _invalid("must be used with the same filter and ordering as the page before", token)
    return key


def _fingerprint(query: Sequence[str]) -> str:
    return hashlib.sha256("\x00".join(query).encode()).hexdigest()[:12]


def _checksum(key: Key) -> str:
    return hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()[:8]


def _invalid(rule: str, token: str) -> InvalidCursor:
    description = f"{rule}, was {token[:40]!r}"
    return InvalidCursor(f"page_token {description}.", violations=[FieldViolation("page_token", description)])
