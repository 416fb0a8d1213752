"""Payload codecs for the engine's tests: one that seals with a nonce, for a context; and ways for it to go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Self

import msgspec

from durable.converter import (
    DataConverter,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)

SEALED = b"binary/sealed"
Meddle = Callable[[str, Sequence[Payload]], Awaitable[None]]


class Sealing(PayloadCodec):
    """The same value is other bytes each time, and nothing that is not sealed is read (but a null).

    ``meddle`` is awaited first, with "encode" or "decode" and what is to be sealed, or was opened.
    """

    def __init__(self, meddle: Meddle | None = None) -> None:
        self._meddle = meddle
        self.told = ""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._first("encode", payloads)
        return [self._seal(each) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        opened = [self._open(each) for each in payloads]
        await self._first("decode", opened)
        return opened

    async def _first(self, what: str, payloads: Sequence[Payload]) -> None:
        if self._meddle is not None:
            await self._meddle(what, payloads)

    def _seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(8)
        data = nonce + _mixed(nonce, msgspec.msgpack.encode(payload))
        return Payload(metadata={"encoding": SEALED, "for": self.told.encode()}, data=data)

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata["encoding"] == b"binary/null":
            return payload
        if payload.metadata["encoding"] != SEALED:
            raise ValueError(f"{payload} was not sealed")
        if payload.metadata["for"] != self.told.encode():
            raise ValueError(f"sealed for {payload.metadata['for'].decode()}, and opened for {self.told}")
        return msgspec.msgpack.decode(_mixed(payload.data[:8], payload.data[8:]), type=Payload)


class SealingFor(Sealing, WithSerializationContext):
    """Opens a value only for what it was sealed for."""

    def with_context(self, context: SerializationContext) -> Self:
        made = copy(self)
        made.told = repr(context)
        return made


def _mixed(nonce: bytes, data: bytes) -> bytes:
    key = hashlib.shake_128(nonce).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, key, strict=True))


def converter(codec: PayloadCodec | None = None) -> DataConverter:
    return DataConverter(payload_codec=codec or SealingFor())


class Gate:
    """Holds up what a codec does to payloads with a word in them, until it is opened."""

    def __init__(self, word: bytes, what: str = "encode") -> None:
        self._word = word
        self._what = what
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, what: str, payloads: Sequence[Payload]) -> None:
        if what == self._what and any(self._word in payload.data for payload in payloads):
            self.reached.set()
            await self.open.wait()


class Failing:
    """Raises on payloads with a word in them, so many times."""

    def __init__(self, word: bytes, times: float, what: str) -> None:
        self._word = word
        self._what = what
        self.left = times

    async def __call__(self, what: str, payloads: Sequence[Payload]) -> None:
        await asyncio.sleep(0)
        if what == self._what and self.left > 0 and any(self._word in payload.data for payload in payloads):
            self.left -= 1
            raise ConnectionError("the key service is away")
