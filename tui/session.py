"""The connection of the console: one channel to each service, calls by name with typed messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from quasar.client.channel import Channel, ClientSettings
from quasar.client.typed import TypedClient
from tui.config import ConsoleSettings

_SERVICE_OF_PACKAGE = {"registry": "registry", "datahub": "datahub", "strategy": "strategy"}


class Session:
    """Calls the three services."""

    def __init__(self, settings: ConsoleSettings) -> None:
        """Prepare; nothing is connected before the first call."""
        self.settings = settings
        self._stack = AsyncExitStack()
        self._clients: dict[str, TypedClient] = {}

    async def __aenter__(self) -> Self:
        """Open the channels."""
        for service, target in self.settings.peers.items():
            settings = ClientSettings(
                target=target,
                service=service,
                token=self.settings.token,
                token_file=self.settings.token_file,
                tls_ca=self.settings.tls_ca,
                default_deadline_s=10.0,
            )
            channel = await self._stack.enter_async_context(Channel(settings))
            self._clients[service] = TypedClient(channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channels."""
        await self._stack.aclose()

    async def call(self, method: str, request: Any, response: type[Any], *, service: str = "") -> Any:
        """Make a unary call.

        Args:
            method: `package.v1.Service/Method` without the leading `quasar.`.
            request: A message of `quasar_client`.
            response: The class of the answer.
            service: Which service answers; empty: the one of the package.

        Raises:
            quasar.errors.QuasarError: Whatever the service answered.
        """
        return await self._client(method, service).unary(f"quasar.{method}", request, response)

    def stream(self, method: str, request: Any, response: type[Any], *, service: str = "") -> AsyncGenerator[Any]:
        """Open a server stream; the arguments are those of `call`."""
        return self._client(method, service).stream(f"quasar.{method}", request, response)

    def _client(self, method: str, service: str) -> TypedClient:
        return self._clients[service or _SERVICE_OF_PACKAGE[method.partition(".")[0]]]
