"""Bearers of people and services: made, taken apart, compared, refused."""

from __future__ import annotations

import hashlib

import pytest

from quasar.errors import Unauthenticated
from quasar.ops.bearers import SERVICE_LIFETIME_S, ServiceBearer, ServiceBearers, UserBearer, new_user_bearer
from quasar.secrets import SystemContext
from quasar.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def context() -> SystemContext:
    return SystemContext(b"a" * 32)


def test_a_new_bearer_names_its_token_and_is_known_by_its_hash() -> None:
    bearer = new_user_bearer()
    parts = UserBearer.parse(bearer)
    assert parts is not None
    assert bearer.startswith(f"qsr_{parts.token_id.hex}_")
    assert parts.matches(hashlib.sha256(bearer.encode()).digest())
    assert not parts.matches(hashlib.sha256(b"another").digest())


def test_no_two_bearers_are_alike() -> None:
    assert len({new_user_bearer() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text", ["", "qsr_", "qsr_12_34", "qss_registry_1_00", f"qsr_{'0' * 32}_{'g' * 64}", f"qsr_{'0' * 32}_{'0' * 64}\n"]
)
def test_what_has_not_the_form_of_a_bearer_is_none(text: str) -> None:
    assert UserBearer.parse(text) is None


def test_a_service_is_known_by_what_it_computes(context: SystemContext, clock: FakeClock) -> None:
    bearer, expiry = ServiceBearers(context, clock).make("registry")
    assert ServiceBearers(context, clock).service(bearer) == ("registry", expiry)


def test_a_service_of_another_installation_is_refused(context: SystemContext, clock: FakeClock) -> None:
    bearer, _ = ServiceBearers(SystemContext(b"b" * 32), clock).make("registry")
    with pytest.raises(Unauthenticated, match="another system context"):
        ServiceBearers(context, clock).service(bearer)


def test_no_part_of_a_services_bearer_can_be_changed(context: SystemContext, clock: FakeClock) -> None:
    bearers = ServiceBearers(context, clock)
    bearer, expiry = bearers.make("registry")
    for changed in (
        bearer.replace("registry", "datahub"),
        bearer.replace(str(int(expiry)), str(int(expiry) + 1)),
        bearer[:-1] + ("0" if bearer[-1] != "0" else "1"),
    ):
        with pytest.raises(Unauthenticated):
            bearers.service(changed)


async def test_a_services_bearer_expires(context: SystemContext, clock: FakeClock) -> None:
    bearers = ServiceBearers(context, clock)
    bearer, _ = bearers.make("registry")
    await clock.advance(SERVICE_LIFETIME_S - 1)
    assert bearers.service(bearer) is not None
    await clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        bearers.service(bearer)


async def test_a_service_renews_its_bearer_before_it_expires(context: SystemContext, clock: FakeClock) -> None:
    bearers = ServiceBearers(context, clock)
    shown = ServiceBearer("registry", bearers, clock)
    first = shown()
    assert shown() == first
    for _ in range(20):
        await clock.advance(SERVICE_LIFETIME_S / 4)
        assert bearers.service(shown()) is not None
    assert shown() != first


def test_other_tokens_are_not_taken_for_a_services(context: SystemContext, clock: FakeClock) -> None:
    bearers = ServiceBearers(context, clock)
    assert bearers.service(new_user_bearer()) is None
    assert bearers.service("qss_Registry_1_00") is None
