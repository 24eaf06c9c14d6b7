"""The secrets that callers show: of people and programs (`qsr_…`, kept as hashes) and of services (`qss_…`, computed).

A service proves who it is with a keyed hash (HMAC-SHA256, RFC 2104) over its name and an expiry, under a key that
every service of the platform derives from the system context. So a peer is known without the database, and nothing
has to be stored or handed out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from quasar.clock import Clock
from quasar.errors import Unauthenticated
from quasar.secrets import SystemContext

_SECRET_BYTES = 32
_USER = re.compile(r"qsr_([0-9a-f]{32})_[0-9a-f]{64}")
_SERVICE = re.compile(r"qss_([a-z][a-z0-9-]{0,62})_([0-9]{1,12})_([0-9a-f]{64})")
_PURPOSE = "service-bearer"

SERVICE_LIFETIME_S = 600
"""How long a bearer of a service works; clocks of the platform's machines may differ by half of it."""


@dataclass(frozen=True, slots=True)
class UserBearer:
    """A bearer of a token, taken apart."""

    token_id: uuid.UUID
    hash: bytes
    """SHA-256 of the bearer, which has 256 random bits, so that a slow hash would add nothing."""

    @classmethod
    def parse(cls, bearer: str) -> UserBearer | None:
        """Return the parts of a bearer, or None when it does not have the form of one."""
        match = _USER.fullmatch(bearer)
        return cls(uuid.UUID(match[1]), hashlib.sha256(bearer.encode()).digest()) if match else None

    def matches(self, stored: bytes) -> bool:
        """Compare with the stored hash in constant time."""
        return hmac.compare_digest(self.hash, stored)


def new_user_bearer(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a new bearer.

    Args:
        random: Returns as many random bytes as asked for.
    """
    token_id = uuid.UUID(bytes=random(16), version=4)
    return f"qsr_{token_id.hex}_{random(_SECRET_BYTES).hex()}"


class ServiceBearers:
    """Makes and checks the bearers of services."""

    def __init__(self, context: SystemContext, clock: Clock) -> None:
        """Derive the key from the system context."""
        self._key = context.derive(_PURPOSE)
        self._clock = clock

    def make(self, service: str) -> tuple[str, float]:
        """Return a bearer for a service and when it stops working, in seconds since 1970."""
        expiry = self._clock.time_ns() // 1_000_000_000 + SERVICE_LIFETIME_S
        return f"qss_{service}_{expiry}_{self._signature(service, expiry)}", float(expiry)

    def service(self, bearer: str) -> tuple[str, float] | None:
        """Return the service that a bearer is of and when it stops working, or None when it is no bearer of a service.

        Raises:
            Unauthenticated: It has the form of one and was not made with this platform's system context, or has
                expired.
        """
        match = _SERVICE.fullmatch(bearer)
        if match is None:
            return None
        name, expiry = match[1], int(match[2])
        if not hmac.compare_digest(match[3], self._signature(name, expiry)):
            raise Unauthenticated("The bearer of the service was made with another system context.")
        if expiry <= self._clock.time_ns() / 1e9:
            raise Unauthenticated("The bearer of the service has expired; the clocks of the machines may differ.")
        return name, float(expiry)

    def _signature(self, service: str, expiry: int) -> str:
        return hmac.new(self._key, f"{service}\x00{expiry}".encode(), hashlib.sha256).hexdigest()


class ServiceBearer:
    """The bearer that one service shows to its peers; made anew when half of its time has passed."""

    def __init__(self, service: str, bearers: ServiceBearers, clock: Clock) -> None:
        """Show that the caller is `service`."""
        self._service = service
        self._bearers = bearers
        self._clock = clock
        self._bearer, self._expiry = bearers.make(service)

    def __call__(self) -> str:
        """Return a bearer that works for some more minutes."""
        if self._expiry - self._clock.time_ns() / 1e9 < SERVICE_LIFETIME_S / 2:
            self._bearer, self._expiry = self._bearers.make(self._service)
        return self._bearer
