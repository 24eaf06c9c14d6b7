"""What a client shows and trusts: its bearer token, its certificate and the certificates it believes."""

from __future__ import annotations

from pathlib import Path

import grpc

from quasar import errors


class Token:
    """A bearer token, given or read from a file that may be replaced while the client runs."""

    def __init__(self, value: str | None = None, file: Path | None = None) -> None:
        """Use `value`, else what stands in `file`, else none."""
        self._value = value
        self._file = file
        self._stamp: tuple[int, int] | None = None

    def header(self) -> str | None:
        """Return the `authorization` header, or None without a token.

        Raises:
            quasar.errors.Unauthenticated: The file cannot be read or is empty.
        """
        if self._value is None and self._file is None:
            return None
        if self._file is not None:
            self._refresh(self._file)
        return f"Bearer {self._value}"

    def _refresh(self, file: Path) -> None:
        try:
            found = file.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._value, self._stamp = file.read_text(encoding="utf-8").strip(), stamp
        except OSError as error:
            raise errors.Unauthenticated(
                f"The token file must be readable, was not ({error.strerror}): {file}. "
                "Create a token with `quasar token create`, or name another file."
            ) from error
        if not self._value:
            raise errors.Unauthenticated(f"The token file must hold a token, was empty: {file}.")


def channel_credentials(ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """Return TLS credentials.

    Args:
        ca: PEM file with the certificates that are believed; None: those of the system.
        certificate: PEM file with the client's own certificate, for servers that demand one.
        key: Its key.

    Raises:
        quasar.errors.InvalidArgument: A file cannot be read.
    """
    try:
        return grpc.ssl_channel_credentials(
            root_certificates=ca.read_bytes() if ca else None,
            private_key=key.read_bytes() if key else None,
            certificate_chain=certificate.read_bytes() if certificate else None,
        )
    except OSError as error:
        raise errors.InvalidArgument(f"The TLS file must be readable, was not: {error}.") from error
