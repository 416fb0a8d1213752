"""`RPCError`: what a client raises where a Temporal client would report the service's answer."""

from __future__ import annotations

from enum import IntEnum

from durable.exceptions import TemporalError


class RPCStatusCode(IntEnum):
    """What kind of refusal it is. Values are gRPC's."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(TemporalError):
    """The store refuses: ``status`` says what kind of refusal it is, ``message`` what happened to which run.

    There is no RPC here; the name is the one that programs written for Temporal catch. So ``raw_grpc_status`` is empty,
    and ``grpc_status`` None.
    """

    def __init__(self, message: str, status: RPCStatusCode, raw_grpc_status: bytes = b"") -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status

    @property
    def message(self) -> str:
        """What went wrong, as a sentence."""
        return self._message

    @property
    def status(self) -> RPCStatusCode:
        """What kind of error it is."""
        return self._status

    @property
    def raw_grpc_status(self) -> bytes:
        """Empty: no gRPC is spoken."""
        return self._raw_grpc_status

    @property
    def grpc_status(self) -> None:
        """Temporal's message of the same status, which only a server sends."""
        return None
