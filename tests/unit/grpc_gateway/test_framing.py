from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_gateway import framing
from quasar import errors


@given(st.binary(max_size=2000))
def test_a_message_survives_its_frame(message: bytes) -> None:
    assert framing.single_message(framing.data_frame(message)) == message


@given(st.binary(max_size=600), st.lists(st.integers(1, 40), max_size=20))
def test_text_bodies_decode_however_the_client_cut_and_padded_them(body: bytes, cuts: list[int]) -> None:
    pieces, rest = [], body
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    text = b"".join(base64.b64encode(piece) for piece in [*pieces, rest])
    assert framing.decode_text(text) == body


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_clear_refusal(body: bytes) -> None:
    try:
        framing.single_message(body)
    except errors.InvalidArgument as error:
        assert "malformed grpc-web request" in error.message  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "must hold at least 5 bytes"),
        (b"\x80\0\0\0\0", "must be data, was trailers"),
        (b"\x01\0\0\0\0", "must be uncompressed"),
        (b"\0\0\0\0\x09abc", "announces 9 bytes, 3 followed"),
        (framing.data_frame(b"a") * 2, "must hold one message"),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(body: bytes, said: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        framing.single_message(body)


def test_a_request_may_end_with_an_empty_trailers_frame() -> None:
    assert framing.single_message(framing.data_frame(b"x") + b"\x80\0\0\0\0") == b"x"


def test_trailers_carry_unicode_messages_and_binary_details() -> None:
    frame = framing.trailers_frame(
        5, "nothing like “BTC/€” · 100 %", [("Grpc-Status-Details-Bin", b"\x08\x05"), ("x-note", "a\r\nb")]
    )
    lines = frame[5:].decode("ascii").split("\r\n")
    assert frame[0] == framing.TRAILERS_FLAG
    assert lines[0] == "grpc-status:5"
    assert lines[1] == "grpc-message:nothing like %E2%80%9CBTC/%E2%82%AC%E2%80%9D %C2%B7 100 %25"
    assert lines[2] == "grpc-status-details-bin:CAU"
    assert lines[3] == "x-note:a??b"


def test_text_that_is_not_base64_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="must be base64"):
        framing.decode_text(b"!!!!")
