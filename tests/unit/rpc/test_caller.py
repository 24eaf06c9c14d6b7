"""Tokens in headers, and roles."""

from __future__ import annotations

import pytest

from quasar import errors
from quasar.rpc.caller import ROLE_NAMES, Caller, bearer_of, require_role
from quasar_proto.common.v1 import access_pb2


def test_the_roles_are_those_of_the_contract() -> None:
    names = {number: name.removeprefix("ROLE_").lower() for name, number in access_pb2.Role.items() if number}

    assert names == ROLE_NAMES


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", b"Bearer abc", "BEARER   abc "])
def test_the_token_is_found_in_the_header(header: str | bytes) -> None:
    assert bearer_of(header) == "abc"


@pytest.mark.parametrize("header", [None, "", "abc", "Bearer", "Bearer ", "Basic abc"])
def test_a_header_without_a_token_is_refused(header: str | None) -> None:
    with pytest.raises(errors.Unauthenticated):
        bearer_of(header)


@pytest.mark.parametrize("needed", [1, 2, 3])
@pytest.mark.parametrize("had", [0, 1, 2, 3])
def test_a_role_may_do_what_the_smaller_ones_may(had: int, needed: int) -> None:
    if had >= needed:
        require_role(Caller("bot", had), needed)
    else:
        with pytest.raises(errors.RoleTooSmall, match=f"must be {ROLE_NAMES[needed]} or greater"):
            require_role(Caller("bot", had), needed)
