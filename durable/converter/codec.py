"""What stands between payloads and the database: encryption, compression, whatever turns bytes into bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from durable.converter.together import together
from durable.history.payloads import payload_lists, with_payload_lists
from durable.history.values import Failure, Payload, Payloads

T = TypeVar("T")


class PayloadCodec(ABC):
    """Payloads to payloads and back, on the event loop; I/O is allowed. Subclass it for a `DataConverter`.

    It is applied to everything that is converted but search attributes, and to headers only as the client's
    ``header_codec_behavior`` says.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """What is stored instead. The number may differ where values are encoded as one list (arguments, results,
        details), and only there."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """What `encode` was given. Payloads that this codec has not written are returned as they are."""

    async def encode_wrapper(self, payloads: Payloads) -> None:
        """`encode`, in place."""
        payloads.payloads = list(await self.encode(payloads.payloads))

    async def decode_wrapper(self, payloads: Payloads) -> None:
        """`decode`, in place."""
        payloads.payloads = list(await self.decode(payloads.payloads))

    async def encode_failure(self, failure: Failure) -> None:
        """`encode` all that a failure and its causes hold, in place. Not for one that an event or a message holds."""
        failure.CopyFrom(await through(self.encode, failure))

    async def decode_failure(self, failure: Failure) -> None:
        """`decode` all that a failure and its causes hold, in place. Not for one that an event or a message holds."""
        failure.CopyFrom(await through(self.decode, failure))


async def through(
    transform: Callable[[Sequence[Payload]], Awaitable[list[Payload]]], value: T, *, headers: bool = False
) -> T:
    """A list of payloads, or what holds some, with each list within transformed; as it is, if it holds none."""
    lists = payload_lists(value, headers=headers)
    if not lists:
        return value
    if len(lists) == 1:
        return with_payload_lists(value, [list(await transform(lists[0]))], headers=headers)
    transformed = await together(map(transform, lists))
    return with_payload_lists(value, [list(each) for each in transformed], headers=headers)
