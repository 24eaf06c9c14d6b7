"""What a caller is told of a request that breaks a rule of the contract."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from quasar import errors
from quasar.rpc.validation import check
from quasar_proto.common.v1 import access_pb2, code_pb2, values_pb2
from quasar_proto.ops.v1 import event_service_pb2, operation_service_pb2
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.registry.v1 import code_service_pb2
from quasar_proto.strategy.v1 import trading_service_pb2

PLENTY: Any = {"intervals": [""] * 30}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.CreateTokenRequest(name="", role=access_pb2.ROLE_VIEWER), {"name": "must not be empty"}),
        (pb.CreateTokenRequest(name="bot"), {"role": "must be set"}),
        (pb.CreateTokenRequest(name="bot", role=9), {"role": "must be one of the defined enum values, was 9"}),  # type: ignore[arg-type]
        (
            pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER, lifetime=Duration(nanos=500_000_000)),
            {"lifetime": "must be greater than or equal to 1s, was 0.500s"},
        ),
        (
            pb.WatchLogsRequest(min_level="loud", tail=-1),
            {
                "min_level": "must be one of '', 'debug', 'info', 'warning', 'error', 'critical', was 'loud'",
                "tail": "must be greater than or equal to 0 and less than or equal to 5000, was -1",
            },
        ),
        (
            operation_service_pb2.GetOperationRequest(operation_id="x" * 100),
            {"operation_id": f"must be a valid UUID, was '{'x' * 79}…"},
        ),
        (
            event_service_pb2.ListEventsRequest(page_size=1001),
            {"page_size": "must be greater than or equal to 0 and less than or equal to 1000, was 1001"},
        ),
        (pb.ListTokensRequest(page_token="hunter2" * 300), {"page_token": "must be at most 2048 characters"}),
        (
            code_pb2.RateLimit(calls=0, window=Duration(seconds=60)),
            {"calls": "must be greater than 0 and less than or equal to 10000000, was 0"},
        ),
        (
            code_pb2.Manifest(name="a", hosts=[code_pb2.AllowedHost(port=1)]),
            {"kind": "must be set", "hosts[0].host": "must not be empty"},
        ),
    ],
)
def test_a_violation_names_the_field_the_rule_and_the_value(request_: Message, expected: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        check(request_)

    rules = {v.field: v.description for v in caught.value.violations if v.rule != "STRING_PATTERN"}
    assert rules == expected
    assert all(v.rule and v.rule == v.rule.upper() for v in caught.value.violations)
    assert all(f"{field} {rule}" in caught.value.message for field, rule in expected.items())


def test_only_so_many_violations_are_told_as_a_client_can_take() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"; and 18 more\.$") as caught:
        check(code_pb2.Manifest(name="a", kind=values_pb2.CODE_KIND_PROVIDER, **PLENTY))

    assert len(caught.value.violations) == 12


def test_a_request_within_the_rules_passes() -> None:
    check(pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER))
    check(pb.GetSystemInfoRequest())


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (values_pb2.Decimal(value="abc"), "value must be a decimal number such as 12.50, was 'abc'"),
        (
            trading_service_pb2.GetAccountRequest(account_id="My account"),
            "account_id must begin with a small letter and have 1 to 63 small letters, digits or '-', was 'My account'",
        ),
        (
            code_service_pb2.UploadCodeRequest(kind=values_pb2.CODE_KIND_PROVIDER, file_name="a.txt", content=b"x"),
            "file_name must be the name of a .py or .zip file, was 'a.txt'",
        ),
    ],
)
def test_patterns_that_people_meet_are_said_in_words(request_: Message, said: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        check(request_)
    assert said in caught.value.message
    assert "^" not in caught.value.message
