"""Settings of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quasar.config import GATEWAY, LogSettings, Settings, TlsFiles
from quasar.environment import BadSetting, Environment

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway needs to know.

    Variables of its own, beside the shared ones: `QUASAR_WEB_ROOT` (folder of the built frontend; `web/dist`) and
    `QUASAR_GATEWAY_ORIGINS` (comma-separated origins that may call from elsewhere, such as a development server).
    """

    host: str
    port: int
    peers: Mapping[str, str]
    web_root: Path
    origins: tuple[str, ...]
    tls: TlsFiles
    log: LogSettings
    max_request_bytes: int
    max_response_bytes: int
    max_streams_per_client: int = 64
    write_timeout_s: float = 60.0

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> GatewaySettings:
        """Read the settings.

        Raises:
            BadSetting: A variable has a value that cannot be used.
        """
        shared = Settings.read(GATEWAY, variables)
        env = Environment(variables)
        root = env.text("QUASAR_WEB_ROOT")
        return cls(
            host=shared.host,
            port=shared.port,
            peers=shared.peers,
            web_root=Path(root).expanduser() if root else _built_frontend(),
            origins=_origins(env.text("QUASAR_GATEWAY_ORIGINS")),
            tls=shared.tls,
            log=shared.log,
            max_request_bytes=shared.limits.message_bytes,
            max_response_bytes=4 * shared.limits.message_bytes,
        )


def _built_frontend() -> Path:
    """Return where the frontend is: in an installed platform beside the library, else in the checkout."""
    installed = _HERE.parent / "quasar" / "_data" / "web"
    return installed if installed.is_dir() else _HERE.parent / "web" / "dist"


def _origins(value: str | None) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in (value or "").split(",") if part.strip())
    for origin in origins:
        if not origin.startswith(("http://", "https://")):
            rule = "must hold origins such as http://localhost:5173, separated by commas"
            raise BadSetting("QUASAR_GATEWAY_ORIGINS", rule, origin)
    return origins
