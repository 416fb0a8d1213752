"""A toy of a codec that hides what it is given, by xor with a nonce; it counts, knows its contexts, and can fail."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence

import msgspec

from durable.converter import Payload, PayloadCodec, SerializationContext, WithSerializationContext

MASKED = b"binary/masked"


class LostKey(Exception):
    """What it raises when told to."""


class Notes(msgspec.Struct):
    """What happened to a codec, and what it is to do."""

    encoded: list[tuple[SerializationContext | None, Payload]] = []
    decoded: list[tuple[SerializationContext | None, Payload]] = []
    fails: bool = False


class Masking(PayloadCodec, WithSerializationContext):
    """Every payload becomes another one each time, which only this can read."""

    def __init__(self, notes: Notes | None = None, context: SerializationContext | None = None) -> None:
        self.notes = notes or Notes()
        self._context = context
        self._nonces = itertools.count(1)

    def with_context(self, context: SerializationContext) -> Masking:
        return Masking(self.notes, context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self.notes.fails:
            raise LostKey
        self.notes.encoded.extend((self._context, payload) for payload in payloads)
        return [self._masked(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self.notes.fails:
            raise LostKey
        return [self._unmasked(payload) for payload in payloads]

    def _masked(self, payload: Payload) -> Payload:
        nonce = next(self._nonces) % 255 + 1
        plain = msgspec.msgpack.encode((dict(payload.metadata), payload.data))
        hidden = bytes(byte ^ nonce for byte in plain)
        return Payload(metadata={"encoding": MASKED}, data=base64.b85encode(bytes([nonce]) + hidden))

    def _unmasked(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != MASKED:
            return payload
        nonce, *hidden = base64.b85decode(payload.data)
        plain = bytes(byte ^ nonce for byte in hidden)
        metadata, data = msgspec.msgpack.decode(plain, type=tuple[dict[str, bytes], bytes])
        found = Payload(metadata=metadata, data=data)
        self.notes.decoded.append((self._context, found))
        return found
