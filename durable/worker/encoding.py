"""What a run's code reads and asks for, through the payload codec: as it is stored, and as the code has it.

A step (see `step`) that has something to be converted hands out a `Conversion`, and goes on with its outcome. The codec
runs on the event loop, so it never holds up the thread of the workflows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import Struct

from durable.common import HeaderCodecBehavior
from durable.converter import DataConverter, SerializationContext, WithSerializationContext
from durable.converter.failure import message_of
from durable.converter.storage import is_of_storage
from durable.converter.together import together
from durable.history.events import HistoryEvent, WorkflowExecutionStarted
from durable.worker.contexts import Contexts

T = TypeVar("T")

Belonging = tuple[SerializationContext | None, Any]
"""A value, and for what it is converted; without that, it is left as it is."""


class CodecError(Exception):
    """The payload codec, or what else belongs to the data converter, has failed."""


class Conversion(Struct, frozen=True):
    """What is to be read (or stored) before a step can go on. The outcome are the values, in this order.

    ``apart``: one that can't be converted has its `CodecError` in its place, and does not fail the others.
    """

    values: Sequence[Belonging]
    reads: bool
    apart: bool = False


class Encoding:
    """Carries out the conversions of one worker, or of whoever else replays."""

    def __init__(self, converter: DataConverter, headers: HeaderCodecBehavior) -> None:
        self._converter = converter
        self._headers = headers is not HeaderCodecBehavior.NO_CODEC
        self._knows_contexts = (
            isinstance(converter.payload_codec, WithSerializationContext) or converter.external_storage is not None
        )

    @property
    def is_plain(self) -> bool:
        """Is there never anything to convert?"""
        return self._converter.is_plain

    async def convert(self, conversion: Conversion, within: float | None = None) -> list[Any]:
        """Raises `CodecError` when the codec does not do it, or not in so many seconds."""
        groups: dict[object, tuple[SerializationContext | None, list[int]]] = {}
        for at, (context, _) in enumerate(conversion.values):
            if context is not None:
                key = at if conversion.apart else context if self._knows_contexts else None
                groups.setdefault(key, (context, []))[1].append(at)
        converted = [value for _, value in conversion.values]

        async def group(context: SerializationContext | None, places: list[int]) -> None:
            try:
                outcome = await self._convert(
                    context, [converted[at] for at in places], reads=conversion.reads, within=within
                )
            except CodecError as error:
                if not conversion.apart:
                    raise
                outcome = [error] * len(places)
            for at, value in zip(places, outcome, strict=True):
                converted[at] = value

        await together(group(context, places) for context, places in groups.values())
        return converted

    async def _convert(
        self, context: SerializationContext | None, values: list[Any], *, reads: bool, within: float | None
    ) -> list[Any]:
        converter = self._converter
        if context is not None and self._knows_contexts:
            converter = in_context(converter, context)
        return await through_codec(converter, values, reads=reads, headers=self._headers, within=within)


def in_context(converter: DataConverter, context: SerializationContext) -> DataConverter:
    """`DataConverter.with_context`; whatever a part of it raises is the cause of a `CodecError`."""
    try:
        return converter.with_context(context)
    except Exception as error:
        raise CodecError(
            f"the data converter can't be had for {context}, its with_context raised {type(error).__name__}: "
            f"{message_of(error)}"
        ) from error


async def through_codec(
    converter: DataConverter, value: T, *, reads: bool, headers: bool, within: float | None = None
) -> T:
    """`DataConverter.read` or `DataConverter.stored`; whatever the codec or a storage driver raises is the cause of a
    `CodecError`, and so is that it took longer than ``within`` (seconds)."""
    limit = asyncio.timeout(within)
    try:
        async with limit:
            return await (converter.read if reads else converter.stored)(value, headers=headers)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        cause: BaseException = error  # the codec has cancelled itself
    except Exception as error:
        cause = error
    is_late = limit.expired() and isinstance(cause, TimeoutError)
    if converter.payload_codec is None or is_of_storage(cause.__cause__ if is_late else cause):
        who, what = "the external storage", "retrieve" if reads else "store"
    else:
        who, what = f"the payload codec {type(converter.payload_codec).__name__}", "decode" if reads else "encode"
    if is_late:
        raise CodecError(f"{who} did not {what} within {within:g} s, which is the workflow task timeout") from cause
    raise CodecError(f"{who} can't {what}: {type(cause).__name__}: {message_of(cause)}") from cause


def of_history(contexts: Contexts, events: Sequence[HistoryEvent]) -> Conversion:
    """The events of a whole history, to be read."""
    known = contexts.scheduled_in(events)
    return Conversion([(contexts.of_event(event, known), event) for event in events], reads=True)


async def read_history(
    events: Sequence[HistoryEvent], converter: DataConverter, namespace: str, headers: HeaderCodecBehavior
) -> Sequence[HistoryEvent]:
    """The events as the code reads them. Raises `CodecError`."""
    started = events[0] if events else None
    if converter.is_plain or not isinstance(started, WorkflowExecutionStarted):
        return events
    return await Encoding(converter, headers).convert(of_history(Contexts.of(namespace, started), events))
