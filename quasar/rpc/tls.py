"""Credentials of a server from PEM files, read again when they change: certificates are renewed without a restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.exceptions import UnsupportedAlgorithm

from quasar import errors, logs

_log = logs.get("quasar.rpc.tls")
_UNUSABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm)
"""What reading the files raises; TypeError: the key is encrypted, for which there is no password."""


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Where the PEM files are."""

    certificate: Path
    """The server's certificate, with its chain."""
    key: Path
    client_ca: Path | None = None
    """Clients must show a certificate that one of these signed; None: clients need none."""

    def paths(self) -> tuple[Path, ...]:
        """Return the files that are set."""
        return (self.certificate, self.key, *((self.client_ca,) if self.client_ca else ()))


class Reloading:
    """Reads the files at the start and whenever one of them has changed."""

    def __init__(self, files: ServerFiles) -> None:
        """Read the files.

        Raises:
            quasar.errors.StartupError: A file cannot be read, or the certificate and the key do not belong together.
        """
        self._files = files
        try:
            self._stamp = self._read_stamp()
            self._present = self._read()
        except _UNUSABLE as error:
            names = ", ".join(str(path) for path in files.paths())
            raise errors.StartupError(
                f"The TLS files must be readable and belong together ({names}): {error}."
            ) from error

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that follow the files."""
        return grpc.dynamic_ssl_server_credentials(
            self._present,
            self._changed,  # type: ignore[arg-type]  # the library documents None as "unchanged"; its stubs do not know
            require_client_authentication=self._files.client_ca is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        key, certificate = self._files.key.read_bytes(), self._files.certificate.read_bytes()
        _require_pair(certificate, key)
        roots = self._files.client_ca.read_bytes() if self._files.client_ca else None
        return grpc.ssl_server_certificate_configuration([(key, certificate)], roots)

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = [path.stat() for path in self._files.paths()]
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in found)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration, or None to go on with the present one. Called at each handshake."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return None
            fresh = self._read()
        except _UNUSABLE as error:
            # Certificate and key are replaced one after the other: the present pair holds until both are there.
            _log.warning("TLS files not reloaded", problem=str(error))
            return None
        self._stamp, self._present = stamp, fresh
        _log.info("TLS files reloaded", certificate=str(self._files.certificate))
        return fresh


def _require_pair(certificate: bytes, key: bytes) -> None:
    """Raise ValueError unless the key is that of the certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    def spki(public: object) -> bytes:
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]  # every kind of key has it

    shown = x509.load_pem_x509_certificates(certificate)[0].public_key()
    if spki(shown) != spki(load_pem_private_key(key, password=None).public_key()):
        raise ValueError("the key is not that of the certificate")
