"""Which versions of the SDK this platform serves."""

from __future__ import annotations

import re

from quasar.errors import FailedPrecondition
from registry.code.refs import CodeRef

SDK_MAJOR = 1
"""The generation of the plug-in contract, `quasar.plugin.v1`. Code of a later one cannot be served."""

_VERSION = re.compile(r"(\d+)(?:\.\d+)*")


def require_served(ref: CodeRef, version: int, sdk_version: str) -> None:
    """Refuse to run a version that was written for an SDK of a later generation.

    Raises:
        FailedPrecondition: The platform cannot serve the SDK.
    """
    match = _VERSION.match(sdk_version)
    if match is not None and int(match[1]) > SDK_MAJOR:
        raise FailedPrecondition(
            f"Version {version} of {ref} was written for SDK {sdk_version}, this platform serves SDK {SDK_MAJOR}.x at most; "
            "upgrade the platform, or activate another version.",
            resource=ref.resource,
        )
