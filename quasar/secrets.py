"""Secrets at rest: keys derived from the system context, and sealed envelopes bound to what they belong to.

The *system context* is the one secret of an installation: 32 random bytes in a file that only its owner can read, or a
Docker secret. Keys come from it by HKDF-SHA256 (RFC 5869), one for each purpose, so that no two purposes share a key.
Secrets are sealed with AES-256-GCM (NIST SP 800-38D); what a secret belongs to (kind, name, version) is associated
data, so an envelope that is copied to another row does not open there.

Envelope, version 1:

    "QSE" (3 bytes) | 0x01 | key id (8 bytes) | nonce (12 bytes) | ciphertext and tag (length of the text + 16 bytes)

The key id tells which system context sealed the envelope without telling anything about it; rotation uses it to skip
what is done.
"""

from __future__ import annotations

import hmac
import os
import secrets as random
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quasar.errors import SecretsUnreadable

MINIMUM_BYTES = 32
"""Length below which a system context is refused."""

_MAGIC = b"QSE\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _KEY_ID_BYTES
_SALT = b"quasar system context v1"
_SECRET_FOLDERS = (Path("/run/secrets"), Path("/var/run/secrets"))


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed secret belongs to; the same binding is needed to open it."""

    kind: str
    """The kind of code, for example `provider`."""
    name: str
    """The name of the class."""
    version: int
    """The version of the secret; a former version's envelope does not open as the present one."""

    def associated_data(self) -> bytes:
        """Return an unambiguous encoding: each part with its length before it."""
        parts = (self.kind.encode(), self.name.encode(), str(self.version).encode())
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class SystemContext:
    """The installation's secret. It derives keys, seals and opens; it never shows itself."""

    __slots__ = ("_material", "_sealing_key", "key_id")

    def __init__(self, material: bytes) -> None:
        """Take the secret itself.

        Args:
            material: At least 32 bytes; a trailing line end is not part of it.

        Raises:
            SecretsUnreadable: It is shorter than 32 bytes.
        """
        material = _without_line_end(material)
        if len(material) < MINIMUM_BYTES:
            raise SecretsUnreadable(
                f"the system context must have at least {MINIMUM_BYTES} bytes, was {len(material)}; "
                "create one with: head -c 32 /dev/urandom | base64"
            )
        self._material = material
        self._sealing_key = self.derive("secrets")
        self.key_id = self.derive("key-id", _KEY_ID_BYTES)

    @classmethod
    def from_file(cls, path: Path) -> SystemContext:
        """Read the system context from a file or a Docker secret.

        Raises:
            SecretsUnreadable: The file is missing, unreadable, too short, or readable by others. Mounted secrets below
                `/run/secrets` may be readable by all, because Docker mounts them so and only the container sees them.
        """
        try:
            if not _is_mounted_secret(path):
                _refuse_wide_permissions(path)
            return cls(path.read_bytes())
        except FileNotFoundError:
            raise SecretsUnreadable(
                f"the system context file {path} does not exist; restore it, or remove the setting so that one is made"
            ) from None
        except OSError as error:
            raise SecretsUnreadable(
                f"the system context file {path} cannot be read ({error.strerror}); "
                "it must be readable by the user who runs Quasar"
            ) from error
        except SecretsUnreadable as error:
            raise SecretsUnreadable(f"{path}: {error.message}") from None

    @classmethod
    def load_or_create(cls, path: Path) -> SystemContext:
        """Read the system context, creating it (mode 0600) when there is none.

        Several first starts at once agree on one.

        Raises:
            SecretsUnreadable: It exists and cannot be used, or it cannot be created.
        """
        if not path.exists():
            try:
                _create(path)
            except OSError as error:
                raise SecretsUnreadable(
                    f"the system context file {path} cannot be created ({error.strerror}); make its folder writable or "
                    "choose another"
                ) from error
        return cls.from_file(path)

    @classmethod
    def generate(cls) -> SystemContext:
        """Return a new random system context that is stored nowhere."""
        return cls(random.token_bytes(MINIMUM_BYTES).hex().encode())

    def derive(self, purpose: str, length: int = 32) -> bytes:
        """Derive key material for one purpose.

        Args:
            purpose: A stable name, for example `database-role:quasar_registry`. Another purpose gives an unrelated key.
            length: Bytes wanted, 1 to 255 × 32.

        Returns:
            The same bytes for the same system context and purpose, always.
        """
        return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=purpose.encode()).derive(self._material)

    def seal(self, text: bytes, binding: Binding) -> bytes:
        """Encrypt `text` so that only this system context opens it, and only for `binding`."""
        header = _MAGIC + self.key_id
        nonce = random.token_bytes(_NONCE_BYTES)
        return header + nonce + AESGCM(self._sealing_key).encrypt(nonce, text, header + binding.associated_data())

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """Decrypt an envelope.

        Raises:
            SecretsUnreadable: It is no envelope, was sealed by another system context, was changed, or belongs to
                something else.
        """
        header, nonce, body = _split(sealed)
        if not hmac.compare_digest(header[len(_MAGIC) :], self.key_id):
            raise SecretsUnreadable(
                f"the secrets of {binding.kind} {binding.name!r} were sealed with another system context; "
                "restore the former one, or replace the secrets"
            )
        try:
            return AESGCM(self._sealing_key).decrypt(nonce, body, header + binding.associated_data())
        except InvalidTag:
            raise SecretsUnreadable(
                f"the stored secrets of {binding.kind} {binding.name!r} are damaged or belong to another class or "
                "version; replace them"
            ) from None

    def sealed_by_me(self, sealed: bytes) -> bool:
        """Tell whether this system context sealed the envelope, without opening it."""
        return hmac.compare_digest(_split(sealed)[0][len(_MAGIC) :], self.key_id)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, SystemContext) and hmac.compare_digest(self._material, other._material)

    def __hash__(self) -> int:
        """Hash by the key id, which is no secret."""
        return hash(self.key_id)

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "<SystemContext>"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Refuse to be pickled: a secret must not travel by accident."""
        raise TypeError("a SystemContext cannot be pickled")


def rotate(old: SystemContext, new: SystemContext, sealed: bytes, binding: Binding) -> bytes:
    """Seal again under `new` what `old` sealed; what `new` has sealed already is returned as it is.

    Running a rotation twice, or again after it was cut off in the middle, is safe.

    Raises:
        SecretsUnreadable: Neither of the two opens the envelope.
    """
    if new.sealed_by_me(sealed):
        new.open(sealed, binding)
        return sealed
    return new.seal(old.open(sealed, binding), binding)


def write_system_context(path: Path, context: SystemContext) -> None:
    """Replace the file's system context in one step (for rotation), mode 0600.

    Raises:
        SecretsUnreadable: The file cannot be written.
    """
    staged = path.with_name(f".{path.name}.{random.token_hex(8)}")
    try:
        _write_private(staged, context._material)
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise SecretsUnreadable(f"the system context file {path} cannot be written ({error.strerror})") from error


def _split(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (header, nonce, body) of an envelope."""
    if len(sealed) < _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES or not sealed.startswith(_MAGIC):
        raise SecretsUnreadable(
            "the stored secrets are not a sealed envelope of a version that this build knows; replace them"
        )
    return (
        sealed[:_HEADER_BYTES],
        sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES],
        sealed[_HEADER_BYTES + _NONCE_BYTES :],
    )


def _without_line_end(material: bytes) -> bytes:
    """Drop one trailing line end, which editors and `echo` add."""
    return material.removesuffix(b"\n").removesuffix(b"\r")


def _is_mounted_secret(path: Path) -> bool:
    """Tell whether the file is a secret mounted by a container engine."""
    return any(path.is_relative_to(folder) for folder in _SECRET_FOLDERS)


def _refuse_wide_permissions(path: Path) -> None:
    """Refuse a secret that other users of the machine can read or replace."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise SecretsUnreadable(f"its permissions must be 0600, was {mode:04o}; correct them with: chmod 600 {path}")


def _create(path: Path) -> None:
    """Create the file with a new secret, in hexadecimal so that no byte of it can be mistaken for a line end.

    A hard link makes it appear whole or not at all, and fails when another start was first; then that one's file
    counts.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = path.with_name(f".{path.name}.{random.token_hex(8)}")
    try:
        _write_private(staged, random.token_bytes(MINIMUM_BYTES).hex().encode())
        path.hardlink_to(staged)
    except FileExistsError:
        return
    finally:
        staged.unlink(missing_ok=True)


def _write_private(path: Path, material: bytes) -> None:
    """Write a new file that only its owner can read, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(material + b"\n")
        file.flush()
        os.fsync(file.fileno())
