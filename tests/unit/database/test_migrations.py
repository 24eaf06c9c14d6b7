"""Reading migration files: their names, numbers, checksums and directives."""

from __future__ import annotations

from pathlib import Path

import pytest

from quasar.database.migrations import MigrationError, load_migrations, migrations_folder


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_bytes(text.encode())
    return folder


def test_files_are_ordered_by_their_number(tmp_path: Path) -> None:
    write(tmp_path, **{"0002_b": "select 2", "0001_a": "select 1", "0010_c": "select 3"})
    assert [m.label for m in load_migrations(tmp_path)] == ["0001_a", "0002_b", "0010_c"]


def test_line_ends_do_not_change_a_checksum(tmp_path: Path) -> None:
    unix, dos = tmp_path / "unix", tmp_path / "dos"
    unix.mkdir()
    dos.mkdir()
    write(unix, **{"0001_a": "select 1;\nselect 2;\n"})
    write(dos, **{"0001_a": "select 1;\r\nselect 2;\r\n"})
    assert load_migrations(unix)[0].checksum == load_migrations(dos)[0].checksum


def test_requirements_stand_in_the_comment_at_the_head(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "0001_a": "-- A title.\n-- requires: pg_trgm, timescaledb\n\nselect 1;\n-- requires: nothing",
            "0002_b": "select 1;\n-- requires: pg_trgm",
        },
    )
    first, second = load_migrations(tmp_path)
    assert first.requires == {"pg_trgm", "timescaledb"}
    assert second.requires == frozenset()


@pytest.mark.parametrize("name", ["1_a", "0001-a", "0001_A", "a", "00001_a"])
def test_a_malformed_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MigrationError, match=rf"must be called NNNN_name.sql, was '{name}.sql'"):
        load_migrations(write(tmp_path, **{name: "select 1"}))


def test_a_number_that_is_used_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="numbered once each"):
        load_migrations(write(tmp_path, **{"0001_a": "select 1", "0001_b": "select 1"}))


def test_the_migrations_of_this_checkout_are_found() -> None:
    assert migrations_folder().name == "migrations"
    assert load_migrations()[0].label == "0001_platform"
