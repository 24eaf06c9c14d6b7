"""Settings of the console: where the services are and with which token they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quasar.config import GATEWAY, Settings
from quasar.environment import BadSetting, Environment


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the console needs to know.

    `QUASAR_TOKEN` (or `QUASAR_TOKEN_FILE`) names the token; unset: the local administrator's, which stands in the home.
    """

    peers: Mapping[str, str]
    token: str | None
    token_file: Path | None
    tls_ca: Path | None
    read_only: bool = False

    @classmethod
    def read(cls, variables: Mapping[str, str], *, read_only: bool = False) -> ConsoleSettings:
        """Read the settings.

        Raises:
            BadSetting: There is no token, or a variable has a value that cannot be used.
        """
        shared = Settings.read(GATEWAY, variables)
        token = Environment(variables).text("QUASAR_TOKEN")
        file = shared.home.admin_token
        if token is None and not file.is_file():
            rule = f"must be set, for {file} does not exist; start the platform with `quasar up`, or name a token"
            raise BadSetting("QUASAR_TOKEN", rule, None)
        return cls(shared.peers, token, None if token else file, shared.tls.ca, read_only)
