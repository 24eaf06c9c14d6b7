"""Which service answers which method. Only what stands here can be reached from a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass

SERVICES = ("registry", "datahub", "strategy")

_PACKAGES = {
    "quasar.registry.v1": "registry",
    "quasar.datahub.v1": "datahub",
    "quasar.strategy.v1": "strategy",
}
# Every service serves these; a path may say whose answer is wanted, and the Registry's is the default.
_SHARED = frozenset({"quasar.ops.v1", "grpc.health.v1"})

_PATH = re.compile(
    r"^/(?:(?P<service>[a-z]+)/)?(?P<package>[a-z0-9_.]+)\.(?P<name>[A-Za-z0-9]+)/(?P<method>[A-Za-z0-9]+)$"
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes."""

    service: str
    """One of `SERVICES`."""
    method: str
    """The gRPC path, `/package.Service/Method`."""


def resolve(path: str) -> Route | None:
    """Return where a request path leads, or None when nothing may be called there.

    `/quasar.datahub.v1.MarketDataService/ListBars` and, for what every service serves,
    `/datahub/quasar.ops.v1.SystemService/GetSystemInfo`.
    """
    found = _PATH.match(path)
    if found is None:
        return None
    package, named = found["package"], found["service"]
    owner = _PACKAGES.get(package)
    if owner is None and package in _SHARED:
        owner = named or "registry"
    if owner is None or owner not in SERVICES or (named is not None and named != owner):
        return None
    return Route(owner, f"/{package}.{found['name']}/{found['method']}")
