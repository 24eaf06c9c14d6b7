"""The table between exceptions and statuses."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from quasar import errors
from quasar.rpc.errors import CODE_OF_REASON, explain, from_rpc_error, from_status, to_status
from quasar_proto.common.v1 import errors_pb2

CONTRACT = Path(__file__).resolve().parents[3] / "proto/quasar/common/v1/errors.proto"
REASONS = [name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name][1:]


class Answer(grpc.aio.AioRpcError):
    """A failed call as the library reports it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


def test_every_reason_of_the_contract_has_the_status_that_its_comment_names() -> None:
    comments = re.findall(r"Status ([A-Z_]+)\.\n  ERROR_REASON_([A-Z_]+) =", CONTRACT.read_text())

    assert {reason: code for code, reason in comments} == {r: CODE_OF_REASON[r].name for r in REASONS}
    assert sorted(CODE_OF_REASON) == sorted(REASONS)


def test_every_class_of_error_has_a_reason_of_the_contract() -> None:
    def below(root: type[errors.QuasarError]) -> list[type[errors.QuasarError]]:
        return [one for child in root.__subclasses__() for one in (child, *below(child))]

    assert {kind.reason for kind in below(errors.QuasarError)} == set(REASONS)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RuntimeError("secret"), errors.Internal),
        (errors.Internal("secret"), errors.Internal),
        (errors.StartupError("secret"), errors.Internal),
        (TimeoutError("secret"), errors.DeadlineExceeded),
        (NotImplementedError("secret"), errors.Unimplemented),
        (errors.EtagMismatch(), errors.EtagMismatch),
        (ExceptionGroup("secret", [ValueError("secret"), errors.NotFound()]), errors.NotFound),
        (ExceptionGroup("secret", [ExceptionGroup("", [TimeoutError()])]), errors.DeadlineExceeded),
        (ExceptionGroup("secret", [ValueError("secret")]), errors.Internal),
        (asyncpg.CharacterNotInRepertoireError("secret"), errors.InvalidArgument),
        (asyncpg.UntranslatableCharacterError("secret"), errors.InvalidArgument),
        (asyncpg.DeadlockDetectedError("secret"), errors.Aborted),
        (asyncpg.SerializationError("secret"), errors.Aborted),
        (Answer(grpc.StatusCode.UNAVAILABLE, "secret address"), errors.ServiceUnavailable),
    ],
)
def test_what_is_raised_is_told_as_one_of_ours(raised: BaseException, told: type[errors.QuasarError]) -> None:
    found = explain(raised)

    assert type(found) is told
    assert "secret" not in found.message


def test_a_status_carries_the_details_that_help() -> None:
    error = errors.QuotaExceeded(
        "The export is too large.",
        resource=errors.Resource("export", "bars"),
        violations=[errors.FieldViolation("limit", "must be at most 10, was 11", "INT32_LTE")],
        metadata={"limit": "10"},
        retry_after_s=1.25,
    )

    status = to_status(error, "abc-1")
    back = from_status(status, grpc.StatusCode.RESOURCE_EXHAUSTED)

    kinds = [detail.type_url.rpartition(".")[2] for detail in status.details]
    assert kinds == ["ErrorInfo", "BadRequest", "ResourceInfo", "QuotaFailure", "RetryInfo"]
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert type(back) is errors.QuotaExceeded
    for name in ("message", "resource", "violations", "metadata", "retry_after_s"):
        assert getattr(back, name) == getattr(error, name)


def test_further_messages_of_an_error_travel_along() -> None:
    extra = errors_pb2.DESCRIPTOR.message_types_by_name
    assert not extra  # the enum stands alone; any message of the contract will do
    sent = status_pb2.Status(code=3, message="an inner status")

    status = to_status(errors.CodeRejected(details=[sent]), "abc-1")

    found = status_pb2.Status()
    assert status.details[-1].Unpack(found)
    assert found == sent


def test_only_an_internal_error_names_the_request_that_leads_to_its_log() -> None:
    info = error_details_pb2.ErrorInfo()

    to_status(errors.Internal(), "abc-1").details[0].Unpack(info)
    assert info.metadata["request_id"] == "abc-1"
    to_status(errors.NotFound(), "abc-1").details[0].Unpack(info)
    assert dict(info.metadata) == {}


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", errors.MessageTooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "enough", errors.ResourceExhausted),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to ipv4:127.0.0.1:8081", errors.ServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.Unimplemented),
        (grpc.StatusCode.UNKNOWN, "what?", errors.Internal),
        (grpc.StatusCode.PERMISSION_DENIED, "no", errors.RoleTooSmall),
        (grpc.StatusCode.OUT_OF_RANGE, "late", errors.CursorExpired),
    ],
)
def test_a_status_without_details_is_understood_by_its_code(
    code: grpc.StatusCode, text: str, expected: type[errors.QuasarError]
) -> None:
    found = from_rpc_error(Answer(code, text))

    assert type(found) is expected
    assert "127.0.0.1" not in found.message


def test_details_that_are_no_status_do_not_hide_the_failure() -> None:
    answer = Answer(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", b"\xff\xff\xff"),))

    assert type(from_rpc_error(answer)) is errors.NotFound


def test_a_reason_of_another_domain_is_not_taken_for_ours() -> None:
    status = status_pb2.Status(code=5, message="no such bucket")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ETAG_MISMATCH", domain="storage.example.com"))

    assert type(from_status(status, grpc.StatusCode.NOT_FOUND)) is errors.NotFound


def test_an_error_that_repeats_something_long_still_fits_into_what_clients_take() -> None:
    name = "x" * 1_000_000
    error = errors.QuotaExceeded(
        f"The provider {name!r} has no calls left.",
        resource=errors.Resource("provider", name),
        violations=[errors.FieldViolation(name, name)],
    )

    sent = to_status(error, "r")

    assert sent.ByteSize() < 6000  # 8 KB as base64
    assert sent.message.startswith("The provider 'xxx")
    assert sent.message.endswith("…")
