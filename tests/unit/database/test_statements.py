"""Named SQL statements: what a file may look like, and what is refused when it is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quasar.database.statements import StatementError, Statements, load_statements

Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Return a function that makes an importable package of `.sql` files."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(**files: str) -> str:
        name = f"sql_{tmp_path.name}".replace("-", "_")
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        for file, text in files.items():
            (folder / f"{file}.sql").write_text(text)
        sys.modules.pop(name, None)
        return name

    return make


def test_blocks_are_found_by_name_without_description_and_semicolon(package: Package) -> None:
    name = package(
        tokens="-- About tokens.\n\n-- name: insert_token\n-- Keep the hash.\ninsert into tokens (name)\n"
        "values ($1);\n\n-- name: list_tokens\nselect 1; -- a remark\n"
    )
    statements = load_statements(name)
    assert list(statements) == ["insert_token", "list_tokens"]
    assert statements["insert_token"] == "insert into tokens (name)\nvalues ($1)"


def test_comments_inside_a_statement_stay(package: Package) -> None:
    statements = load_statements(package(a="-- name: one\n-- Says.\nselect 1,\n-- two\n2"))
    assert statements["one"] == "select 1,\n-- two\n2"


def test_several_files_make_one_collection(package: Package) -> None:
    assert set(load_statements(package(a="-- name: one\nselect 1", b="-- name: two\nselect 2"))) == {"one", "two"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "-- name: one\nselect 1\n-- name: one\nselect 2"}, "'one' is used twice"),
        ({"a": "-- name: one\nselect 1", "b": "-- name: one\nselect 2"}, "'one' is used twice"),
        ({"a": "select 1"}, r"a.sql:1: SQL must stand under a line '-- name: …', was 'select 1'"),
        ({"a": "-- nothing here"}, "must have at least one '-- name: …' line"),
        ({"a": "-- name: Insert-Token\nselect 1"}, "must be lower_snake_case, was 'Insert-Token'"),
        ({"a": "-- name: one\n-- only words\n-- name: two\nselect 1"}, "the statement 'one' is empty"),
        ({}, "must have at least one .sql file, had none"),
    ],
    ids=["twice in a file", "twice in a package", "no name", "only comments", "bad name", "empty", "no file"],
)
def test_a_malformed_package_is_refused_when_it_is_loaded(
    package: Package, files: dict[str, str], message: str
) -> None:
    with pytest.raises(StatementError, match=message):
        load_statements(package(**files))


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(KeyError, match="store has no statement named 'gone'; it has: here"):
        Statements({"here": "select 1"}, origin="store")["gone"]


def test_statements_cannot_be_changed() -> None:
    texts = {"one": "select 1"}
    statements = Statements(texts)
    texts["one"] = "drop table tokens"
    assert statements["one"] == "select 1"
    assert not hasattr(statements, "__setitem__")


def test_the_database_kit_loads_its_own_statements() -> None:
    assert "ensure_partitions" in load_statements("quasar.database.store")
