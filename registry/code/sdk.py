"""Which versions of the SDK this platform serves."""

from __future__ import annotations

import re
from importlib import metadata

from quasar.errors import FailedPrecondition
from registry.code.refs import CodeRef

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")


def platform_version() -> str:
    """Return the version of this platform, which is that of the SDK in it."""
    return metadata.version("quasar-platform")


def require_served(ref: CodeRef, version: int, sdk_version: str, served: str) -> None:
    """Refuse to run a version that was written for a later SDK than the one that is served.

    Args:
        ref: The code.
        version: Its version.
        sdk_version: The SDK that it was written for; empty: not declared.
        served: The SDK of this platform.

    Raises:
        FailedPrecondition: The platform cannot serve the SDK.
    """
    if _release(sdk_version) > _release(served):
        raise FailedPrecondition(
            f"Version {version} of {ref} was written for SDK {sdk_version}, "
            f"this platform has SDK {served}; "
            "upgrade the platform, or activate another version.",
            resource=ref.resource,
        )


def _release(version: str) -> tuple[int, int]:
    match = _VERSION.match(version)
    return (0, 0) if match is None else (int(match[1]), int(match[2] or 0))
