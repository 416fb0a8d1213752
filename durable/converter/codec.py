"""What stands between payloads and the database: encryption, compression, whatever turns bytes into bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from durable.history.values import Payload


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
