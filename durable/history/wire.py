"""Pure: payloads in protobuf's wire format, as Temporal's message `Payload` is written and read everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
GROUPS_MAX = 100
"""Groups within groups; protobuf's own readers take no more."""


def write_payload(metadata: Mapping[str, bytes], data: bytes) -> bytes:
    """The bytes of one payload, the metadata in the order of its keys, so that equal payloads have equal bytes."""
    parts = [_field(1, _field(1, key.encode()) + _field(2, metadata[key])) for key in sorted(metadata)]
    return b"".join([*parts, _field(2, data)] if data else parts)


def read_payload(data: bytes) -> tuple[dict[str, bytes], bytes]:
    """Metadata and data of what `write_payload` or protobuf wrote. ValueError for anything else."""
    metadata: dict[str, bytes] = {}
    content = b""
    for number, value in _fields(data):
        if number == 1:
            key, entry = "", b""
            for part, text in _fields(value):
                if part == 1:
                    key = text.decode()
                elif part == 2:
                    entry = text
            metadata[key] = entry
        elif number == 2:
            content = value
    return metadata, content


def write_messages(messages: Sequence[bytes]) -> bytes:
    """A message whose field 1 repeats these: `Payloads`, for one."""
    return b"".join(_field(1, message) for message in messages)


def read_messages(data: bytes) -> list[bytes]:
    """What `write_messages` was given. ValueError for what it did not write."""
    return [value for number, value in _fields(data) if number == 1]


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each field that has bytes; fields of other kinds are of later versions, and passed over."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = _told(tag)
        if kind == BYTES:
            size, at = _read_varint(data, at)
            at = _advanced(data, at, size)
            yield number, data[at - size : at]
        else:
            at = _skipped(data, at, number, kind)


def _skipped(data: bytes, at: int, number: int, kind: int, depth: int = 0) -> int:
    """The place behind a field."""
    if kind == VARINT:
        return _read_varint(data, at)[1]
    if kind in (FIXED64, FIXED32):
        return _advanced(data, at, 8 if kind == FIXED64 else 4)
    if kind == BYTES:
        size, at = _read_varint(data, at)
        return _advanced(data, at, size)
    if kind == GROUP and depth < GROUPS_MAX:
        while True:
            tag, at = _read_varint(data, at)
            inner, inner_kind = _told(tag)
            if inner_kind == GROUP_END and inner == number:
                return at
            at = _skipped(data, at, inner, inner_kind, depth + 1)
    raise _corrupt()


def _told(tag: int) -> tuple[int, int]:
    number, kind = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise _corrupt()
    return number, kind


def _advanced(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise _corrupt()
    return at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place in range(10):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at
    raise _corrupt()


def _corrupt() -> ValueError:
    return ValueError("these bytes are no payload in protobuf's wire format")
