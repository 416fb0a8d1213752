"""The payload codec of a simulation: it takes its time, and whoever looks into the database can undo it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from durable.converter import DataConverter, Payload, PayloadCodec
from durable.history.payloads import payload_lists, with_payload_lists

T = TypeVar("T")

_SEALED = {"encoding": b"binary/sealed"}
_TURNED = bytes(range(255, -1, -1))


class Sealing(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await _think(payloads)
        sealed = [msgspec.msgpack.encode(each).translate(_TURNED) for each in payloads]
        return [Payload(metadata=dict(_SEALED), data=each) for each in sealed]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await _think(payloads)
        return [_open(each) for each in payloads]


SEALING = DataConverter(payload_codec=Sealing())


def opened(value: T) -> T:
    """What was stored, as it was before; what was not sealed is as it was."""
    return with_payload_lists(value, [[_open(each) for each in found] for found in payload_lists(value)])


def _open(payload: Payload) -> Payload:
    if payload.metadata != _SEALED:
        return payload
    return msgspec.msgpack.decode(payload.data.translate(_TURNED), type=Payload)


async def _think(payloads: Sequence[Payload]) -> None:
    """For up to 60 ms, some longer than others."""
    await asyncio.sleep(sum(sum(each.data) for each in payloads) % 4 * 0.02)
