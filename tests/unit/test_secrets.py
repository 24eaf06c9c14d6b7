"""Secrets: who may read the system context, what opens an envelope, and what a rotation leaves behind."""

from __future__ import annotations

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar import secrets
from quasar.errors import SecretsUnreadable
from quasar.secrets import Binding, SystemContext, rotate, write_system_context

KRAKEN = Binding("provider", "kraken", 1)
TEXT = b'{"api_token": "hunter2"}'


@pytest.fixture
def context() -> SystemContext:
    return SystemContext.generate()


def written(path: Path, material: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(material)
    path.chmod(mode)
    return path


def test_a_missing_file_is_created_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "system_context"
    first = SystemContext.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SystemContext.load_or_create(path) == first
    assert [item.name for item in path.parent.iterdir()] == ["system_context"]


def test_several_first_starts_agree_on_one_context(tmp_path: Path) -> None:
    path = tmp_path / "system_context"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: SystemContext.load_or_create(path), range(16)))
    assert len(set(made)) == 1


def test_two_installations_have_different_contexts() -> None:
    assert SystemContext.generate() != SystemContext.generate()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_end_after_the_secret_does_not_matter(tmp_path: Path, end: bytes) -> None:
    assert SystemContext.from_file(written(tmp_path / "c", b"s" * 40 + end)) == SystemContext(b"s" * 40)


def test_white_space_inside_the_secret_matters() -> None:
    assert SystemContext(b" " + b"s" * 40) != SystemContext(b"s" * 40)


def test_a_short_context_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SecretsUnreadable, match=r"must have at least 32 bytes, was 31.*urandom"):
        SystemContext.from_file(written(tmp_path / "c", b"s" * 31 + b"\n"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_context_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "c", b"s" * 32, mode)
    with pytest.raises(SecretsUnreadable, match=f"must be 0600, was {mode:04o}; correct them with: chmod 600 {path}"):
        SystemContext.from_file(path)


def test_a_mounted_secret_may_be_readable_inside_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_SECRET_FOLDERS", (tmp_path,))
    assert SystemContext.from_file(written(tmp_path / "c", b"s" * 32, 0o444)) == SystemContext(b"s" * 32)


def test_a_missing_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretsUnreadable, match=f"{tmp_path / 'gone'} does not exist"):
        SystemContext.from_file(tmp_path / "gone")


def test_a_folder_in_the_place_of_the_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretsUnreadable, match=f"{tmp_path}"):
        SystemContext.from_file(tmp_path)


def test_a_context_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SecretsUnreadable, match="cannot be created"):
        SystemContext.load_or_create(tmp_path / "file" / "system_context")


def test_each_purpose_has_a_key_of_its_own(context: SystemContext) -> None:
    assert context.derive("database-role:quasar_registry") == context.derive("database-role:quasar_registry")
    keys = {context.derive(purpose) for purpose in ("secrets", "key-id", "database-role:quasar_registry")}
    assert len(keys) == 3
    assert len(context.derive("long", 80)) == 80


def test_derived_keys_are_the_same_for_ever() -> None:
    # A change of this value would lock every installation out of its database and its secrets.
    key = SystemContext(b"0123456789abcdef0123456789abcdef").derive("database-role:quasar_registry")
    assert key.hex() == "901f48e694bed65869c09d7e3b39f057406943beb97c009946d242b3a48875b2"


@given(text=st.binary(max_size=300), name=st.text(min_size=1, max_size=40), version=st.integers(1, 2**31))
def test_what_was_sealed_opens_unchanged(text: bytes, name: str, version: int) -> None:
    context = SystemContext(b"s" * 32)
    binding = Binding("provider", name, version)
    assert context.open(context.seal(text, binding), binding) == text


def test_an_envelope_shows_nothing_and_is_never_the_same_twice(context: SystemContext) -> None:
    first, second = context.seal(TEXT, KRAKEN), context.seal(TEXT, KRAKEN)
    assert first != second
    assert b"hunter2" not in first
    assert len(first) == len(TEXT) + 40


@pytest.mark.parametrize(
    "other",
    [Binding("broker", "kraken", 1), Binding("provider", "eodhd", 1), Binding("provider", "kraken", 2)],
    ids=["kind", "name", "version"],
)
def test_an_envelope_does_not_open_in_another_place(context: SystemContext, other: Binding) -> None:
    with pytest.raises(SecretsUnreadable, match="damaged or belong to another"):
        context.open(context.seal(TEXT, KRAKEN), other)


def test_moving_a_letter_from_the_kind_to_the_name_makes_another_binding() -> None:
    assert Binding("ab", "c", 1).associated_data() != Binding("a", "bc", 1).associated_data()


@pytest.mark.parametrize("position", [0, 3, 5, 13, 30, -1])
def test_an_envelope_with_one_changed_bit_does_not_open(context: SystemContext, position: int) -> None:
    sealed = bytearray(context.seal(TEXT, KRAKEN))
    sealed[position] ^= 1
    with pytest.raises(SecretsUnreadable):
        context.open(bytes(sealed), KRAKEN)


@pytest.mark.parametrize("sealed", [b"", b"QSE\x01", b"plain text that was never sealed by anything at all"])
def test_what_is_no_envelope_is_refused(context: SystemContext, sealed: bytes) -> None:
    with pytest.raises(SecretsUnreadable, match="not a sealed envelope"):
        context.open(sealed, KRAKEN)


def test_an_envelope_of_another_installation_says_so(context: SystemContext) -> None:
    with pytest.raises(SecretsUnreadable, match=r"provider 'kraken' were sealed with another system context"):
        context.open(SystemContext.generate().seal(TEXT, KRAKEN), KRAKEN)


def test_a_rotation_moves_envelopes_and_may_be_repeated(context: SystemContext) -> None:
    new = SystemContext.generate()
    once = rotate(context, new, context.seal(TEXT, KRAKEN), KRAKEN)
    assert new.open(once, KRAKEN) == TEXT
    assert rotate(context, new, once, KRAKEN) == once
    assert new.sealed_by_me(once)
    assert not context.sealed_by_me(once)


def test_a_rotation_refuses_what_neither_context_opens(context: SystemContext) -> None:
    stranger = SystemContext.generate().seal(TEXT, KRAKEN)
    with pytest.raises(SecretsUnreadable):
        rotate(context, SystemContext.generate(), stranger, KRAKEN)


def test_a_rotated_context_replaces_the_file_in_one_step(tmp_path: Path, context: SystemContext) -> None:
    path = tmp_path / "system_context"
    SystemContext.load_or_create(path)
    write_system_context(path, context)
    assert SystemContext.from_file(path) == context
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["system_context"]


def test_a_context_shows_itself_nowhere() -> None:
    context = SystemContext(b"very secret and long enough to be used")
    assert repr(context) == str(context) == f"{context}" == "<SystemContext>"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(context)
