"""Named SQL statements: SQL stays in `.sql` files, where it can be read, reviewed and tested as SQL.

A file is a list of blocks. A block starts with a line `-- name: insert_token`; the comment lines that follow describe
it, the rest is the statement:

    -- name: insert_token
    -- Keep the hash of a new token; the name must be free among the tokens in force.
    insert into tokens (name, hash) values ($1, $2) returning id;
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^--\s*name:\s*(\S+)\s*$")
_IDENTIFIER = re.compile(r"^[a-z][a-z0-9_]*$")


class StatementError(ValueError):
    """A file of named statements is malformed; the message names the file and the line."""


class Statements(Mapping[str, str]):
    """The statements of one package: immutable, looked up by name."""

    __slots__ = ("_origin", "_texts")

    def __init__(self, texts: Mapping[str, str], origin: str = "statements") -> None:
        """Keep a copy of `texts`; `origin` is what messages call the collection."""
        self._texts = dict(texts)
        self._origin = origin

    def __getitem__(self, name: str) -> str:
        """Return the SQL called `name`; a `KeyError` lists what there is."""
        try:
            return self._texts[name]
        except KeyError:
            known = ", ".join(sorted(self._texts)) or "none"
            raise KeyError(f"{self._origin} has no statement named {name!r}; it has: {known}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of the files."""
        return iter(self._texts)

    def __len__(self) -> int:
        """Return how many statements there are."""
        return len(self._texts)

    def __repr__(self) -> str:
        """Name the origin and the count; the SQL itself would drown a log."""
        return f"<Statements {self._origin}: {len(self)}>"


def load_statements(package: str) -> Statements:
    """Read every `.sql` file that lies directly in a package.

    Args:
        package: Dotted name of the package, for example `registry.store`.

    Returns:
        The statements of all its files; names are unique over the whole package.

    Raises:
        StatementError: A file starts without a name, a name is malformed or used twice, a block is empty, or there is
            no file.
    """
    found = sorted(
        (item for item in files(package).iterdir() if item.name.endswith(".sql")), key=lambda item: item.name
    )
    if not found:
        raise StatementError(f"package {package} must have at least one .sql file, had none")
    texts: dict[str, str] = {}
    for item in found:
        for name, text in _blocks(item):
            if name in texts:
                raise StatementError(f"{package}/{item.name}: the name {name!r} is used twice in this package")
            texts[name] = text
    return Statements(texts, origin=package)


def _blocks(source: Traversable) -> Iterator[tuple[str, str]]:
    """Yield (name, statement) of one file."""
    name: str | None = None
    body: list[str] = []
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        match = _NAME.match(line)
        if match is None:
            if name is None and line.strip() and not line.lstrip().startswith("--"):
                raise StatementError(
                    f"{source.name}:{number}: SQL must stand under a line '-- name: …', was {line.strip()!r}"
                )
            body.append(line)
            continue
        if name is not None:
            yield name, _statement(source.name, name, body)
        name, body = match.group(1), []
        if not _IDENTIFIER.match(name):
            raise StatementError(f"{source.name}:{number}: a name must be lower_snake_case, was {name!r}")
    if name is None:
        raise StatementError(f"{source.name}: must have at least one '-- name: …' line")
    yield name, _statement(source.name, name, body)


def _statement(file: str, name: str, body: list[str]) -> str:
    """Join the lines of a block without its leading description."""
    start = next((i for i, line in enumerate(body) if line.strip() and not line.lstrip().startswith("--")), None)
    if start is None:
        raise StatementError(f"{file}: the statement {name!r} is empty")
    return "\n".join(body[start:]).strip().removesuffix(";")
