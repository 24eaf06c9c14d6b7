"""Database roles: their passwords, verifiers and addresses."""

from __future__ import annotations

import base64
import hmac
from urllib.parse import unquote, urlsplit

import pytest

from quasar.database.roles import SERVICES, role_name, role_password, scram_verifier, service_url
from quasar.secrets import SystemContext

CONTEXT = SystemContext(b"s" * 32)


def test_each_service_has_a_role_and_a_password_of_its_own() -> None:
    assert [role_name(service) for service in SERVICES] == ["quasar_registry", "quasar_datahub", "quasar_strategy"]
    assert len({role_password(service, CONTEXT) for service in SERVICES}) == 3


def test_a_password_follows_from_the_system_context() -> None:
    assert role_password("registry", CONTEXT) == role_password("registry", SystemContext(b"s" * 32))
    assert role_password("registry", CONTEXT) != role_password("registry", SystemContext.generate())


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(ValueError, match="must be one of registry, datahub, strategy, was 'gateway'"):
        role_name("gateway")


def test_the_verifier_is_that_of_the_example_in_rfc_7677() -> None:
    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    prefix, keys = verifier.rsplit("$", 1)
    assert prefix == "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,{nonce}"
    server_key = base64.b64decode(keys.split(":")[1])
    signature = base64.b64encode(hmac.digest(server_key, message.encode(), "sha256"))
    assert signature == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_verifier_holds_no_password_and_differs_each_time() -> None:
    assert "pencil" not in scram_verifier("pencil")
    assert scram_verifier("pencil") != scram_verifier("pencil")


@pytest.mark.parametrize(
    "owner",
    [
        "postgresql://owner:secret@db.example:5433/quasar?sslmode=require",
        "postgresql://owner:p%40ss%2Fword@db.example:5433/quasar?sslmode=require",
        "postgresql://db.example:5433/quasar?sslmode=require&user=owner&password=secret",
    ],
)
def test_a_service_reaches_the_same_database_as_itself(owner: str) -> None:
    parts = urlsplit(service_url(owner, "datahub", CONTEXT))
    assert parts.username == "quasar_datahub"
    assert unquote(parts.password or "") == role_password("datahub", CONTEXT)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("db.example", 5433, "/quasar", "sslmode=require")


def test_the_address_of_a_unix_socket_keeps_its_folder() -> None:
    url = service_url("postgresql://quasar:x@/quasar?host=%2Ftmp%2Fa%20b%2Frun&port=5432", "registry", CONTEXT)
    assert url.endswith("@/quasar?host=%2Ftmp%2Fa%20b%2Frun&port=5432")
    assert "quasar:x" not in url
