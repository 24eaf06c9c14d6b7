"""Which calls are made again, and when."""

from __future__ import annotations

import pytest

from quasar import errors
from quasar.client.retry import RetryPolicy, is_safe
from quasar_proto.ops.v1 import system_service_pb2 as pb


class WithId:
    """A creation that names itself, so that doing it twice is doing it once."""

    request_id = "8d3c"


@pytest.mark.parametrize(
    ("method", "error", "expected"),
    [
        ("GetSystemInfo", errors.ServiceUnavailable(), True),
        ("ListTokens", errors.DatabaseUnavailable(), True),
        ("ListTokens", errors.Aborted(), True),
        ("CreateToken", errors.ServiceUnavailable(), False),
        ("CreateToken", errors.Draining(), True),
        ("CreateToken", errors.TooManyCalls(), True),
        ("GetSystemInfo", errors.EtagMismatch(), False),
        ("GetSystemInfo", errors.NotFound(), False),
        ("GetSystemInfo", errors.QuotaExceeded(), False),
        ("GetawaySomething", errors.ServiceUnavailable(), False),
        ("Get", errors.ServiceUnavailable(), True),
    ],
)
def test_only_what_does_no_harm_is_made_again(method: str, error: errors.QuasarError, expected: bool) -> None:
    assert is_safe(f"quasar.ops.v1.SystemService/{method}", pb.GetSystemInfoRequest(), error) is expected


def test_a_creation_with_a_request_id_is_safe() -> None:
    assert is_safe("quasar.x.v1.S/CreateThing", WithId(), errors.ServiceUnavailable())


def test_pauses_grow_up_to_their_bound_and_differ() -> None:
    policy = RetryPolicy(first_pause_s=0.1, longest_pause_s=1.0)
    error = errors.ServiceUnavailable()

    for attempt, bound in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)):
        pauses = [policy.pause_s(attempt, error) for _ in range(200)]
        assert 0 <= min(pauses) < bound / 4
        assert bound * 3 / 4 < max(pauses) <= bound


def test_what_the_server_asked_for_is_waited_for() -> None:
    assert 2.0 <= RetryPolicy().pause_s(1, errors.ServiceUnavailable(retry_after_s=2.0)) <= 2.1
