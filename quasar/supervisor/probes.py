"""Asks the processes of the platform whether they are ready: services over gRPC, the gateway over HTTP."""

from __future__ import annotations

import asyncio
import enum
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from quasar.config import GATEWAY, Settings
from quasar.errors import QuasarError

if TYPE_CHECKING:
    from quasar.client.channel import Channel, ClientSettings

ANSWER_S = 2.0
_CONNECT_S = 0.5


class Answer(enum.Enum):
    """What a process says."""

    READY = "ready"
    UNREADY = "not ready"
    SILENT = "does not answer"


class Probe:
    """Asks one process."""

    def __init__(self, settings: Settings) -> None:
        """Ask the process that has these settings."""
        self._settings = settings
        self._host = reachable_host(settings.host)
        self._channel: Channel | None = None

    @property
    def address(self) -> str:
        """`host:port` as others on this machine reach it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._settings.port}"

    async def ask(self) -> Answer:
        """Return what the process says now."""
        if not await self._listens():
            return Answer.SILENT
        return await (self._ask_gateway() if self._settings.part is GATEWAY else self._ask_service())

    @staticmethod
    def load() -> None:
        """Load what asking needs, at a moment when nothing waits for it."""
        import quasar.client.health  # noqa: F401  # loaded for its effect

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _listens(self) -> bool:
        """Tell whether the port takes connections: cheaper than a call, and a channel that failed waits for a while."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(self._host, self._settings.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    async def _ask_service(self) -> Answer:
        # Loaded here, since it takes as long as starting PostgreSQL does, and the first question comes after that.
        from quasar.client.channel import Channel
        from quasar.client.health import is_ready

        try:
            if self._channel is None:
                self._channel = Channel(channel_settings(self._settings, self.address))
            ready = await is_ready(self._channel, timeout_s=ANSWER_S)
        except QuasarError:
            await self.close()
            return Answer.SILENT
        return Answer.READY if ready else Answer.UNREADY

    async def _ask_gateway(self) -> Answer:
        """Ask by a plain HTTP/1.0 request: a client library would take longer to load than the gateway to start."""
        context = _trusting_context() if self._settings.tls.enabled else None
        try:
            async with asyncio.timeout(2 * ANSWER_S):
                reader, writer = await asyncio.open_connection(self._host, self._settings.port, ssl=context)
                try:
                    writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return Answer.SILENT
        words = status.split()
        if len(words) < 2:
            return Answer.SILENT
        return Answer.READY if words[1] == b"200" else Answer.UNREADY


def reachable_host(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(host, host)  # noqa: S104  # not listened on


def channel_settings(settings: Settings, target: str, token: str | None = None) -> ClientSettings:
    """Return how to call a service of this machine that has these settings."""
    from quasar.client.channel import ClientSettings
    from quasar.client.retry import RetryPolicy

    tls = settings.tls
    return ClientSettings(
        target=target,
        service=settings.part.name,
        token=token,
        tls=tls.enabled,
        # A certificate of one's own is its own authority; with another one, its name is what it was made for.
        tls_ca=(tls.ca or tls.certificate) if tls.enabled else None,
        tls_cert=tls.certificate,
        tls_key=tls.key,
        tls_server_name=_certificate_name(settings) if tls.enabled else None,
        retry=RetryPolicy(attempts=1),
    )


def _certificate_name(settings: Settings) -> str | None:
    """Return a name that the server's certificate was made for; it need not be that of this machine's loopback."""
    from cryptography import x509

    assert settings.tls.certificate is not None
    certificate = x509.load_pem_x509_certificate(settings.tls.certificate.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    found = names.get_values_for_type(x509.DNSName)
    return found[0] if found else None


def _trusting_context() -> ssl.SSLContext:
    """Return a context that asks for no proof: the question is whether the process answers, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
