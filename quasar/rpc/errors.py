"""The one table between exceptions and gRPC statuses: the server uses it one way, the client the other.

A status carries `google.rpc.ErrorInfo` with the reason and the domain, and `BadRequest`, `RetryInfo`, `QuotaFailure`
and `ResourceInfo` where they say more. What is not an error of `quasar.errors` reaches the client as INTERNAL with the
request id and not one word of its own text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from quasar import errors

DOMAIN: Final = "quasar"
DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata that carries the serialised `google.rpc.Status`."""

_MOST_TEXT: Final = 500
_MOST_SENTENCE: Final = 1500
_MOST_BAD_REQUEST_BYTES: Final = 3500
"""The library's clients take 8 KB of trailing metadata and cut the call off above that, so a status has to fit."""

_M = TypeVar("_M", bound=Message)
_Code = grpc.StatusCode
CODE_OF_REASON: Final = {
    "INVALID_ARGUMENT": _Code.INVALID_ARGUMENT,
    "INVALID_FILTER": _Code.INVALID_ARGUMENT,
    "INVALID_CURSOR": _Code.INVALID_ARGUMENT,
    "CODE_REJECTED": _Code.INVALID_ARGUMENT,
    "NOT_FOUND": _Code.NOT_FOUND,
    "ALREADY_EXISTS": _Code.ALREADY_EXISTS,
    "ETAG_MISMATCH": _Code.ABORTED,
    "ABORTED": _Code.ABORTED,
    "FAILED_PRECONDITION": _Code.FAILED_PRECONDITION,
    "PLUGIN_FAILED": _Code.FAILED_PRECONDITION,
    "POLICY_DENIED": _Code.FAILED_PRECONDITION,
    "BROKER_REJECTED": _Code.FAILED_PRECONDITION,
    "SECRETS_UNREADABLE": _Code.FAILED_PRECONDITION,
    "UNAUTHENTICATED": _Code.UNAUTHENTICATED,
    "ROLE_TOO_SMALL": _Code.PERMISSION_DENIED,
    "TOO_MANY_CALLS": _Code.RESOURCE_EXHAUSTED,
    "SLOW_READER": _Code.RESOURCE_EXHAUSTED,
    "MESSAGE_TOO_LARGE": _Code.RESOURCE_EXHAUSTED,
    "QUOTA_EXCEEDED": _Code.RESOURCE_EXHAUSTED,
    "CURSOR_EXPIRED": _Code.OUT_OF_RANGE,
    "DRAINING": _Code.UNAVAILABLE,
    "DATABASE_UNAVAILABLE": _Code.UNAVAILABLE,
    "SERVICE_UNAVAILABLE": _Code.UNAVAILABLE,
    "PLUGIN_UNAVAILABLE": _Code.UNAVAILABLE,
    "VENDOR_FAILED": _Code.UNAVAILABLE,
    "DEADLINE_EXCEEDED": _Code.DEADLINE_EXCEEDED,
    "CANCELLED": _Code.CANCELLED,
    "UNIMPLEMENTED": _Code.UNIMPLEMENTED,
    "INTERNAL": _Code.INTERNAL,
}

# What a status means when its sender gave no reason: a library, a proxy, or a peer that is not ours.
_CLASS_OF_CODE: Final[dict[grpc.StatusCode, type[errors.QuasarError]]] = {
    _Code.CANCELLED: errors.Cancelled,
    _Code.INVALID_ARGUMENT: errors.InvalidArgument,
    _Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    _Code.NOT_FOUND: errors.NotFound,
    _Code.ALREADY_EXISTS: errors.AlreadyExists,
    _Code.PERMISSION_DENIED: errors.RoleTooSmall,
    _Code.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    _Code.FAILED_PRECONDITION: errors.FailedPrecondition,
    _Code.ABORTED: errors.Aborted,
    _Code.OUT_OF_RANGE: errors.CursorExpired,
    _Code.UNIMPLEMENTED: errors.Unimplemented,
    _Code.UNAVAILABLE: errors.ServiceUnavailable,
    _Code.UNAUTHENTICATED: errors.Unauthenticated,
}


def _descendants(root: type[errors.QuasarError]) -> Iterator[type[errors.QuasarError]]:
    for child in root.__subclasses__():
        yield child
        yield from _descendants(child)


# A general class shares its reason with one of its children; the child comes later here and wins.
_CLASS_OF_REASON: Final = {
    kind.reason: kind
    for kind in _descendants(errors.QuasarError)
    if kind.__module__ == errors.__name__ and not issubclass(kind, errors.StartupError)
}


def explain(error: BaseException) -> errors.QuasarError:
    """Return what a client may be told of `error`; unknown exceptions become `Internal` without their text."""
    if isinstance(error, BaseExceptionGroup):
        error = _most_telling(error)
    if isinstance(error, errors.QuasarError):
        hidden = isinstance(error, errors.Internal | errors.StartupError) or error.reason not in CODE_OF_REASON
        return errors.Internal() if hidden else error
    if isinstance(error, TimeoutError):
        return errors.DeadlineExceeded()
    if isinstance(error, NotImplementedError):
        return errors.Unimplemented()
    if isinstance(error, grpc.aio.AioRpcError):
        return from_rpc_error(error)
    if _holds_nul(error):
        return errors.InvalidArgument("A text must not contain the character NUL, which cannot be stored.")
    if _lost_to_another(error):
        return errors.Aborted("The call met another one that changed the same things; repeat it.", retry_after_s=0.1)
    return errors.DatabaseUnavailable(retry_after_s=1.0) if _database_is_gone(error) else errors.Internal()


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of ours in a group of errors, or its first one."""
    ours = group.subgroup(errors.QuasarError)
    leaf: BaseException = ours or group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


def _holds_nul(error: BaseException) -> bool:
    """Tell whether the database was given a text with the one character that it cannot keep."""
    driver = sys.modules.get("asyncpg")
    return driver is not None and isinstance(
        error, driver.CharacterNotInRepertoireError | driver.UntranslatableCharacterError
    )


def _lost_to_another(error: BaseException) -> bool:
    """Tell whether the database undid the call's transaction in favour of another one: repeated, it succeeds."""
    driver = sys.modules.get("asyncpg")
    return driver is not None and isinstance(error, driver.DeadlockDetectedError | driver.SerializationError)


def _database_is_gone(error: BaseException) -> bool:
    """Tell whether the database driver lost or never had its connection.

    The driver is looked up rather than imported, so that programs without a database do not load it.
    """
    driver = sys.modules.get("asyncpg")
    if driver is None:
        return False
    lost = (
        driver.PostgresConnectionError,
        driver.CannotConnectNowError,
        driver.AdminShutdownError,
        driver.CrashShutdownError,
        driver.TooManyConnectionsError,
    )
    if isinstance(error, lost):
        return True
    if isinstance(error, driver.InterfaceError):
        # "connection is closed", "pool is closing"; every other text is a defect of the caller.
        return "clos" in str(error)
    return isinstance(error, OSError) and _passed_through(error.__traceback__, "asyncpg.")


def _passed_through(traceback: TracebackType | None, package: str) -> bool:
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).startswith(package):
            return True
        traceback = traceback.tb_next
    return False


def code_of(error: errors.QuasarError) -> grpc.StatusCode:
    """Return the status code of an error."""
    return CODE_OF_REASON.get(error.reason, _Code.INTERNAL)


def to_status(error: errors.QuasarError, request_id: str) -> status_pb2.Status:
    """Return the status that is sent for an error.

    Args:
        error: What `explain` returned.
        request_id: Goes into `ErrorInfo.metadata` of internal errors, where it is the only lead to the cause.
    """
    status = status_pb2.Status(code=code_of(error).value[0], message=sentence(error))
    for detail in _details(error, request_id):
        status.details.add().Pack(detail)
    return status


def sentence(error: errors.QuasarError) -> str:
    """Return the message of an error as it is sent, cut where it repeats something long that a caller sent."""
    return _cut(error.message, _MOST_SENTENCE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _details(error: errors.QuasarError, request_id: str) -> Iterable[Message]:
    metadata = dict(error.metadata)
    if isinstance(error, errors.Internal):
        metadata["request_id"] = request_id
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    if error.violations:
        yield _bad_request(error.violations)
    if error.resource is not None:
        yield error_details_pb2.ResourceInfo(
            resource_type=error.resource.type,
            resource_name=_cut(error.resource.name, _MOST_TEXT),
            description=_cut(error.message, _MOST_TEXT),
        )
    if isinstance(error, errors.TooManyCalls | errors.QuotaExceeded):
        quota = error_details_pb2.QuotaFailure()
        subject = error.resource.name if error.resource else error.metadata.get("subject", error.reason.lower())
        quota.violations.add(subject=_cut(subject, _MOST_TEXT), description=_cut(error.message, _MOST_TEXT))
        yield quota
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        yield retry
    yield from (detail for detail in error.details if isinstance(detail, Message))


def _bad_request(violations: Iterable[errors.FieldViolation]) -> error_details_pb2.BadRequest:
    """Return the violations that fit into a status, the first ones of many."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(
            field=violation.field[:_MOST_TEXT], description=violation.description[:_MOST_TEXT], reason=violation.rule
        )
        if bad.ByteSize() > _MOST_BAD_REQUEST_BYTES:
            del bad.field_violations[-1]
            break
    return bad


def from_rpc_error(error: grpc.RpcError) -> errors.QuasarError:
    """Return the error of ours that a failed outgoing call stands for, with all its details."""
    call: grpc.aio.AioRpcError = error  # type: ignore[assignment]  # both kinds of grpc errors answer the same questions
    raw = dict(call.trailing_metadata() or ()).get(DETAILS_KEY)
    if isinstance(raw, bytes):
        status = status_pb2.Status()
        try:
            status.ParseFromString(raw)
        except DecodeError:
            return _without_details(call)
        return from_status(status, call.code())
    return _without_details(call)


def _without_details(call: grpc.aio.AioRpcError) -> errors.QuasarError:
    code, text = call.code(), call.details() or ""
    if code is _Code.RESOURCE_EXHAUSTED and "message larger than max" in text:
        return errors.MessageTooLarge(text)
    if code is _Code.UNAVAILABLE:
        return errors.ServiceUnavailable()  # the library's text names addresses
    if code is _Code.UNIMPLEMENTED:
        return errors.Unimplemented("The server does not know this method; it may be of another version.")
    return _CLASS_OF_CODE.get(code, errors.Internal)(text or None)


def from_status(status: status_pb2.Status, code: grpc.StatusCode) -> errors.QuasarError:
    """Return the error of ours that a received status stands for."""
    info = _unpack(status, error_details_pb2.ErrorInfo)
    usual = _CLASS_OF_CODE.get(code, errors.Internal)
    ours = info is not None and info.domain == DOMAIN
    kind = _CLASS_OF_REASON.get(info.reason, usual) if info is not None and ours else usual
    bad = _unpack(status, error_details_pb2.BadRequest)
    resource = _unpack(status, error_details_pb2.ResourceInfo)
    retry = _unpack(status, error_details_pb2.RetryInfo)
    return kind(
        status.message or None,
        metadata=dict(info.metadata) if info is not None else None,
        violations=[
            errors.FieldViolation(v.field, v.description, v.reason) for v in (bad.field_violations if bad else ())
        ],
        resource=errors.Resource(resource.resource_type, resource.resource_name) if resource else None,
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        details=[detail for detail in status.details if not _is_ours(detail)],
    )


def _is_ours(detail: AnyMessage) -> bool:
    return detail.type_url.rpartition("/")[2].startswith("google.rpc.")


def _unpack(status: status_pb2.Status, kind: type[_M]) -> _M | None:
    found = kind()
    detail: AnyMessage
    for detail in status.details:
        if detail.Unpack(found):
            return found
    return None
