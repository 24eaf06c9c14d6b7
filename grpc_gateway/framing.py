"""The grpc-web wire format: length-prefixed frames, a trailers frame at the end, and their base64 text form.

Source: PROTOCOL-WEB.md of the gRPC project. A frame is one flag byte, a big-endian 32-bit length and that many bytes;
flag 0x80 marks trailers, 0x01 compression.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from quasar import errors

HEADER_BYTES = 5
TRAILERS_FLAG = 0x80
COMPRESSED_FLAG = 0x01
_HEADER = struct.Struct(">BI")

# What gRPC leaves as it is in grpc-message: printable ASCII without the percent sign.
_MESSAGE_SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


def data_frame(message: bytes) -> bytes:
    """Return a message with its frame header."""
    return _HEADER.pack(0, len(message)) + message


def trailers_frame(code: int, message: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """Return the last frame of a response: status, message and trailing metadata as lower-case header lines."""
    lines = [f"grpc-status:{code}", f"grpc-message:{quote(message, safe=_MESSAGE_SAFE)}"]
    lines += [f"{key.lower()}:{_metadata_value(key, value)}" for key, value in metadata]
    body = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    return _HEADER.pack(TRAILERS_FLAG, len(body)) + body


def _metadata_value(key: str, value: str | bytes) -> str:
    if key.lower().endswith("-bin"):
        raw = value if isinstance(value, bytes) else value.encode()
        return base64.b64encode(raw).decode("ascii").rstrip("=")
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    # A line break would begin a header of the sender's choosing.
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def single_message(body: bytes) -> bytes:
    """Return the one message of a request body.

    Raises:
        errors.InvalidArgument: The body is not exactly one uncompressed data frame.
    """
    if len(body) < HEADER_BYTES:
        raise _malformed(f"the body must hold at least {HEADER_BYTES} bytes of frame header, was {len(body)} bytes")
    flag, length = _HEADER.unpack_from(body)
    if flag & TRAILERS_FLAG:
        raise _malformed("the first frame must be data, was trailers")
    if flag & COMPRESSED_FLAG:
        raise _malformed("the message must be uncompressed; send no grpc-encoding")
    if flag:
        raise _malformed(f"the frame's flag must be 0, was {flag}")
    end = HEADER_BYTES + length
    if len(body) < end:
        raise _malformed(f"the frame announces {length} bytes, {len(body) - HEADER_BYTES} followed")
    rest = body[end:]
    # Some clients close a request with an empty trailers frame.
    if rest and not (rest[0] & TRAILERS_FLAG):
        raise _malformed("the request must hold one message; grpc-web has no client streams")
    return body[HEADER_BYTES:end]


def decode_text(body: bytes) -> bytes:
    """Return the bytes of a base64 body; padded pieces may follow one another, as the text form allows.

    Raises:
        errors.InvalidArgument: The body is not base64.
    """
    pieces: Sequence[bytes] = _padded_pieces(b"".join(body.split()))
    try:
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"the body must be base64 (application/grpc-web-text): {error}") from error


def _padded_pieces(text: bytes) -> list[bytes]:
    pieces, start, index = [], 0, text.find(b"=")
    while index != -1:
        while index + 1 < len(text) and text[index + 1 : index + 2] == b"=":
            index += 1
        pieces.append(text[start : index + 1])
        start = index + 1
        index = text.find(b"=", start)
    return [*pieces, text[start:]] if text[start:] else pieces


def _malformed(what: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"malformed grpc-web request: {what}")
