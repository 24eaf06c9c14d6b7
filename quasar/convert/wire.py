"""The protobuf wire format, as far as columns need it: tags, varints, runs of bytes. No message objects.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from quasar.errors import InvalidArgument

Buffer = bytes | bytearray | memoryview


class WireType(IntEnum):
    """How the value of a field is laid out."""

    VARINT = 0
    """Seven bits a byte, the lowest first."""
    FIXED64 = 1
    """Eight bytes, little-endian."""
    LENGTH = 2
    """A varint with the number of bytes, then the bytes."""
    GROUP_START = 3
    """The begin of a group; not written since proto2."""
    GROUP_END = 4
    """The end of a group."""
    FIXED32 = 5
    """Four bytes, little-endian."""


def varint(value: int) -> bytes:
    """Encode an unsigned integer of at most 64 bits."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: WireType) -> bytes:
    """Encode the number and the wire type that stand before a value."""
    return varint(number << 3 | wire_type)


def embedded(number: int, payload: Buffer) -> bytes:
    """Encode a field that holds bytes, a text, a message or a packed run."""
    return b"".join((opening(number, len(payload)), payload))


def opening(number: int, size: int) -> bytes:
    """Encode what stands before a field of `size` bytes: a text, a message or a packed run."""
    return tag(number, WireType.LENGTH) + varint(size)


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """Read a varint; return its value, cut to 64 bits, and the position after it.

    Raises:
        InvalidArgument: The data ends within the varint, or it has more than ten bytes.
    """
    value = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, index + 1
        shift += 7
    raise _malformed(position)


def read_fields(data: Buffer) -> Iterator[tuple[int, WireType, int, int, int]]:
    """Iterate over the fields of a message in the order of the wire; groups are skipped.

    Yields:
        Number, wire type, value (of a varint, else 0), start and end of the value's bytes in `data`.

    Raises:
        InvalidArgument: The bytes are not a protobuf message.
    """
    position = 0
    while position < len(data):
        number, wire_type, position = _read_tag(data, position)
        if wire_type is WireType.GROUP_START:
            position = _skip_group(data, position, number)
            continue
        value, start, position = _read_value(data, position, wire_type)
        yield number, wire_type, value, start, position


def skip_field(data: Buffer, position: int) -> int:
    """Return the position after the field, or the group, that begins at a position.

    Raises:
        InvalidArgument: The bytes are not a protobuf message.
    """
    number, wire_type, after = _read_tag(data, position)
    if wire_type is WireType.GROUP_START:
        return _skip_group(data, after, number)
    return _read_value(data, after, wire_type)[2]


def read_varints(data: Buffer) -> list[int]:
    """Read a packed run of varints."""
    values: list[int] = []
    position = 0
    while position < len(data):
        value, position = read_varint(data, position)
        values.append(value)
    return values


def _read_tag(data: Buffer, position: int) -> tuple[int, WireType, int]:
    key, after = read_varint(data, position)
    number, code = key >> 3, key & 7
    if not 0 < number < 1 << 29 or code > 5:
        raise _malformed(position)
    return number, WireType(code), after


def _read_value(data: Buffer, position: int, wire_type: WireType) -> tuple[int, int, int]:
    value = 0
    start = position
    if wire_type is WireType.VARINT:
        value, end = read_varint(data, position)
    elif wire_type is WireType.FIXED64:
        end = position + 8
    elif wire_type is WireType.FIXED32:
        end = position + 4
    elif wire_type is WireType.LENGTH:
        length, start = read_varint(data, position)
        end = start + length
    else:
        raise _malformed(position)
    if end > len(data):
        raise _malformed(position)
    return value, start, end


def _skip_group(data: Buffer, position: int, number: int) -> int:
    opened = [number]
    while opened:
        if position >= len(data):
            raise _malformed(position)
        inner, wire_type, after = _read_tag(data, position)
        if wire_type is WireType.GROUP_START:
            opened.append(inner)
            position = after
        elif wire_type is WireType.GROUP_END:
            if inner != opened.pop():
                raise _malformed(position)
            position = after
        else:
            _, _, position = _read_value(data, after, wire_type)
    return position


def _malformed(position: int) -> InvalidArgument:
    return InvalidArgument(f"the message must be well-formed protobuf, was malformed at byte {position}")
