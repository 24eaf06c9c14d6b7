"""TLS and mTLS from files, and files that are replaced while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from quasar import errors
from quasar.client.channel import Channel, ClientSettings
from quasar.client.retry import RetryPolicy
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs
from tests.integration.rpc.certificates import Authority, Pair
from tests.integration.rpc.harness import Running, running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of its own for each test."""
    return Authority(tmp_path, "authority")


def files(pair: Pair) -> dict[str, Any]:
    """Return the settings of a server that shows a certificate."""
    return {"tls_cert": pair.certificate, "tls_key": pair.key}


async def ask(up: Running, **settings: Any) -> None:
    """Make a call on a connection of its own."""
    once = RetryPolicy(attempts=1)
    target = ClientSettings(target=up.address, service="registry", token="viewer-token", retry=once, **settings)
    async with Channel(target) as channel:
        await channel.stub(stubs.SystemServiceStub).GetSystemInfo(pb.GetSystemInfoRequest(), timeout=60)


async def shown(up: Running) -> str:
    """Return the name in the certificate that the server shows to a new connection."""
    host, _, port = up.address.rpartition(":")
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    trusting.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=trusting)
    raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    subject = x509.load_der_x509_certificate(raw).subject
    return str(next(iter(subject)).value)


async def test_a_client_that_trusts_the_authority_is_served(authority: Authority) -> None:
    async with running(**files(authority.issue("server"))) as up:
        await ask(up, tls_ca=authority.certificate)


async def test_a_client_that_trusts_another_authority_does_not_talk_to_the_server(
    authority: Authority, tmp_path: Path
) -> None:
    async with running(**files(authority.issue("server"))) as up:
        with pytest.raises(errors.ServiceUnavailable):
            await ask(up, tls_ca=Authority(tmp_path, "stranger").certificate)


async def test_a_client_without_tls_is_not_served(authority: Authority) -> None:
    async with running(**files(authority.issue("server"))) as up:
        with pytest.raises(errors.Unavailable):
            await ask(up)


async def test_with_mtls_only_clients_with_a_certificate_of_the_authority_are_served(
    authority: Authority, tmp_path: Path
) -> None:
    mine, strange = authority.issue("client"), Authority(tmp_path, "stranger").issue("impostor")
    async with running(**files(authority.issue("server")), tls_client_ca=authority.certificate) as up:
        await ask(up, tls_ca=authority.certificate, tls_cert=mine.certificate, tls_key=mine.key)

        with pytest.raises(errors.Unavailable):
            await ask(up, tls_ca=authority.certificate)
        with pytest.raises(errors.Unavailable):
            await ask(up, tls_ca=authority.certificate, tls_cert=strange.certificate, tls_key=strange.key)


async def test_a_renewed_certificate_is_shown_to_the_next_connection(authority: Authority) -> None:
    serving = authority.issue("server")
    async with running(**files(serving)) as up:
        await ask(up, tls_ca=authority.certificate)
        assert await shown(up) == "server"
        renewed = authority.issue("renewed")

        renewed.certificate.replace(serving.certificate)
        assert await shown(up) == "server"  # the key is still the old one, so the old pair holds
        renewed.key.replace(serving.key)

        assert await shown(up) == "renewed"
        await ask(up, tls_ca=authority.certificate)


async def test_files_that_do_not_belong_together_stop_the_start(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")

    with pytest.raises(errors.StartupError, match="the key is not that of the certificate"):
        async with running(tls_cert=one.certificate, tls_key=other.key):
            pass


async def test_a_missing_file_stops_the_start_and_is_named(authority: Authority, tmp_path: Path) -> None:
    one = authority.issue("one")

    with pytest.raises(errors.StartupError, match=r"absent\.key"):
        async with running(tls_cert=one.certificate, tls_key=tmp_path / "absent.key"):
            pass


async def test_half_a_setting_is_refused_rather_than_served_in_plain_text(authority: Authority) -> None:
    one = authority.issue("one")
    halves: list[dict[str, Any]] = [
        {"tls_cert": one.certificate},
        {"tls_key": one.key},
        {"tls_client_ca": authority.certificate},
    ]

    for half in halves:
        with pytest.raises(errors.StartupError, match="must be set together"):
            async with running(**half):
                pass
