"""The platform's errors. Each class carries the reason that clients see; `quasar.rpc.errors` turns them into statuses.

    QuasarError
    ├── InvalidArgument          a field breaks a rule (violations name field and rule)
    │   ├── InvalidFilter
    │   ├── InvalidCursor
    │   └── CodeRejected
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition
    │   ├── PluginFailed
    │   ├── PolicyDenied
    │   ├── BrokerRejected
    │   └── SecretsUnreadable
    ├── EtagMismatch
    ├── Unauthenticated
    ├── RoleTooSmall
    ├── ResourceExhausted
    │   ├── TooManyCalls
    │   ├── SlowReader
    │   ├── MessageTooLarge
    │   └── QuotaExceeded
    ├── CursorExpired
    ├── Unavailable
    │   ├── Draining
    │   ├── DatabaseUnavailable
    │   ├── ServiceUnavailable
    │   ├── PluginUnavailable
    │   └── VendorFailed
    ├── DeadlineExceeded
    ├── Cancelled
    ├── Aborted
    ├── Unimplemented
    ├── Internal
    └── StartupError             a process cannot start; never sent to a client
        └── PortInUse

The docstring of a class is its default message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that breaks a rule."""

    field: str
    """Path of the field, for example `series[2].symbol`."""
    description: str
    """What is wrong and what would be right; contains the value that was sent."""
    rule: str = ""
    """Stable name of the rule that was broken (`STRING_MIN_LEN`); empty when the rule has none."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an error is about."""

    type: str
    """The noun of the contract, for example `provider`."""
    name: str
    """Its name, for example `kraken`."""


class QuasarError(Exception):
    """The platform could not do what was asked."""

    reason: ClassVar[str] = "INTERNAL"
    """Name in `quasar.common.v1.ErrorReason`, without its prefix."""

    def __init__(
        self,
        message: str | None = None,
        *,
        resource: Resource | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        details: Sequence[object] = (),
    ) -> None:
        """Keep the message and the details that clients may see.

        Args:
            message: One sentence for the caller; the class docstring when absent.
            resource: What the error is about.
            violations: The fields that break a rule.
            metadata: Small facts for programs, sent in `ErrorInfo.metadata`.
            retry_after_s: Seconds after which trying again may succeed.
            details: Further messages of the contract to send along. All details of a status travel in
                its trailing metadata, of which clients take a few kilobytes.
        """
        self.message = message or " ".join((type(self).__doc__ or "").split())
        self.resource = resource
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.details = tuple(details)
        super().__init__(self.message)


class InvalidArgument(QuasarError):
    """A field of the request breaks a rule."""

    reason = "INVALID_ARGUMENT"


class InvalidFilter(InvalidArgument):
    """The filter or the ordering could not be understood."""

    reason = "INVALID_FILTER"


class InvalidCursor(InvalidArgument):
    """The page token or cursor is malformed or belongs to another query."""

    reason = "INVALID_CURSOR"


class CodeRejected(InvalidArgument):
    """The code did not pass validation."""

    reason = "CODE_REJECTED"


class NotFound(QuasarError):
    """What was named does not exist."""

    reason = "NOT_FOUND"


class AlreadyExists(QuasarError):
    """What was to be created exists already."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(QuasarError):
    """The resource is not in the state that the call needs."""

    reason = "FAILED_PRECONDITION"


class PluginFailed(FailedPrecondition):
    """The plug-in raised an error of its own."""

    reason = "PLUGIN_FAILED"


class PolicyDenied(FailedPrecondition):
    """The order was denied by policy."""

    reason = "POLICY_DENIED"


class BrokerRejected(FailedPrecondition):
    """The broker rejected the order."""

    reason = "BROKER_REJECTED"


class SecretsUnreadable(FailedPrecondition):
    """Stored secrets cannot be opened with the present system context."""

    reason = "SECRETS_UNREADABLE"


class EtagMismatch(QuasarError):
    """The resource changed since it was read; read it again and repeat the change."""

    reason = "ETAG_MISMATCH"


class Unauthenticated(QuasarError):
    """A valid bearer token is needed; create one with `quasar token create`."""

    reason = "UNAUTHENTICATED"


class RoleTooSmall(QuasarError):
    """The token's role is too small for this call."""

    reason = "ROLE_TOO_SMALL"


class ResourceExhausted(QuasarError):
    """A limit is reached."""

    reason = "QUOTA_EXCEEDED"


class TooManyCalls(ResourceExhausted):
    """The server has as many calls in flight as it takes; try again shortly."""

    reason = "TOO_MANY_CALLS"


class SlowReader(ResourceExhausted):
    """The reader fell too far behind a lossless stream; resume from the cursor."""

    reason = "SLOW_READER"


class MessageTooLarge(ResourceExhausted):
    """A message is larger than the limit; ask for less at once."""

    reason = "MESSAGE_TOO_LARGE"


class QuotaExceeded(ResourceExhausted):
    """A quota is used up."""

    reason = "QUOTA_EXCEEDED"


class CursorExpired(QuasarError):
    """The cursor is older than what is kept."""

    reason = "CURSOR_EXPIRED"


class Unavailable(QuasarError):
    """The service cannot answer now; try again."""

    reason = "SERVICE_UNAVAILABLE"


class Draining(Unavailable):
    """The service is stopping; reconnect and resume."""

    reason = "DRAINING"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    reason = "DATABASE_UNAVAILABLE"


class ServiceUnavailable(Unavailable):
    """Another service of the platform does not answer."""

    reason = "SERVICE_UNAVAILABLE"


class PluginUnavailable(Unavailable):
    """The plug-in is not running."""

    reason = "PLUGIN_UNAVAILABLE"


class VendorFailed(Unavailable):
    """The vendor refused, throttled or failed the request."""

    reason = "VENDOR_FAILED"


class DeadlineExceeded(QuasarError):
    """The call ran out of its deadline."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(QuasarError):
    """The work was cancelled."""

    reason = "CANCELLED"


class Aborted(QuasarError):
    """A part of the call was cancelled inside the server; it is safe to try again."""

    reason = "ABORTED"


class Unimplemented(QuasarError):
    """The method has no implementation in this build."""

    reason = "UNIMPLEMENTED"


class Internal(QuasarError):
    """A defect of the server; the request id leads to the log entry."""

    reason = "INTERNAL"


class StartupError(QuasarError):
    """The process cannot start."""


class PortInUse(StartupError):
    """The port is in use by another program."""
