from __future__ import annotations

import pytest

from grpc_gateway import headers
from quasar import errors


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1H", 3600), ("2M", 120), ("30S", 30), ("250m", 0.25), ("5u", 5e-6), ("9n", 9e-9), (None, None)],
)
def test_timeouts_are_read_in_every_unit(value: str | None, seconds: float | None) -> None:
    assert headers.timeout_seconds(value) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize("value", ["", "5", "S", "-1S", "123456789S", "5x", "٣S"])
def test_a_bad_timeout_is_refused_with_its_value(value: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="grpc-timeout must be"):
        headers.timeout_seconds(value)


def test_only_what_services_need_is_let_through() -> None:
    sent = [
        ("Authorization", "Bearer x"),
        ("Cookie", "c"),
        ("Host", "h"),
        ("X-Quasar-Trace-Bin", "AAE"),
        ("Accept", "*/*"),
    ]
    assert headers.to_metadata(sent) == [("authorization", "Bearer x"), ("x-quasar-trace-bin", b"\x00\x01")]


def test_initial_metadata_comes_back_without_grpc_and_hop_by_hop_headers() -> None:
    sent: list[tuple[str, str | bytes]] = [
        ("x-request-id", "r1"),
        ("grpc-accept-encoding", "gzip"),
        ("connection", "close"),
        ("x-b-bin", b"\x00"),
    ]
    assert headers.from_metadata(sent) == {"x-request-id": "r1", "x-b-bin": "AA"}


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("application/grpc-web", False),
        ("application/grpc-web+proto", False),
        ("application/grpc-web-text; charset=utf-8", True),
        ("APPLICATION/GRPC-WEB-TEXT+PROTO", True),
    ],
)
def test_both_forms_of_the_protocol_are_known(content_type: str, text: bool) -> None:
    found = headers.wire_format(content_type)
    assert found is not None
    assert found.text is text


@pytest.mark.parametrize("content_type", ["", "application/json", "application/grpc", "application/grpc-web+json"])
def test_other_content_types_are_not_taken(content_type: str) -> None:
    assert headers.wire_format(content_type) is None


def test_the_same_origin_needs_no_cors_and_a_stranger_gets_none() -> None:
    allowed = ("http://localhost:5173",)
    assert headers.cors("http://localhost:8000", allowed, "localhost:8000") == {}
    assert "Access-Control-Allow-Origin" not in headers.preflight("http://evil.example", allowed, "localhost:8000")
    granted = headers.preflight("http://localhost:5173", allowed, "localhost:8000")
    assert granted["Access-Control-Allow-Origin"] == "http://localhost:5173"
    assert "grpc-status-details-bin" in granted["Access-Control-Expose-Headers"]
