"""Conversion as the client does it: for the workflow or activity at hand, through the codec, errors told in full."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from durable.common import HeaderCodecBehavior
from durable.converter import DataConverter
from durable.converter.context import ActivitySerializationContext, WorkflowSerializationContext
from durable.converter.task_context import of_task
from durable.history.transition import ActivityTask
from durable.history.values import Failure, Payload

if TYPE_CHECKING:
    from durable.client.client import Client

T = TypeVar("T")


def for_workflow(client: Client, workflow_id: str) -> DataConverter:
    """The client's converter for what belongs to a workflow."""
    converter = client.data_converter
    if not converter.wants_contexts:
        return converter
    return converter.with_context(WorkflowSerializationContext(client.namespace, workflow_id))


def for_activity(
    client: Client, activity_id: str, activity_type: str | None = None, task_queue: str | None = None
) -> DataConverter:
    """The client's converter for what belongs to an activity that a client has started by itself."""
    return client.data_converter.with_context(
        ActivitySerializationContext(
            namespace=client.namespace,
            activity_id=activity_id,
            activity_type=activity_type,
            activity_task_queue=task_queue,
            workflow_id=None,
            workflow_type=None,
            is_local=False,
        )
    )


def for_task(client: Client, task: ActivityTask) -> DataConverter:
    """The client's converter for what belongs to an activity that is not over."""
    return client.data_converter.with_context(of_task(client.namespace, task))


def encodes_headers(client: Client) -> bool:
    """Does the codec see the headers of what this client sends? (WORKFLOW_ONLY_CODEC is about workers.)"""
    return client.header_codec_behavior is HeaderCodecBehavior.CODEC


def headers_of(headers: Mapping[str, Payload]) -> dict[str, Payload]:
    """Those that an interceptor has left, checked."""
    for key, payload in headers.items():
        if not isinstance(cast("object", payload), Payload):
            kind = type(payload).__name__
            raise TypeError(f"header {key!r} is a {kind}, and has to be a Payload: convert the value first")
    return dict(headers)


async def stored(converter: DataConverter, value: T, what: str, *, headers: bool = False) -> T:
    """See `DataConverter.stored`; what the codec raises says that it was about ``what``."""
    if converter.is_plain:
        return value
    with _noted(f"{what} can't be written: the codec has raised this; nothing was written"):
        return await converter.stored(value, headers=headers)


async def read(converter: DataConverter, value: T, what: str) -> T:
    """See `DataConverter.read`; what the codec raises says that it was about ``what``."""
    if converter.is_plain:
        return value
    with _noted(f"{what} can't be read: the codec has raised this"):
        return await converter.read(value)


def value_of(converter: DataConverter, payloads: Sequence[Payload], hint: Any, what: str) -> Any:
    """The one value of what was read; None if there is none. What the converter raises says that it was ``what``."""
    if not payloads:
        return None
    try:
        return converter.from_payloads(payloads, None if hint is None else [hint])[0]
    except Exception as error:
        error.add_note(f"{what} can't be read: {_encodings(payloads)}")
        raise


def message_of(converter: DataConverter, failure: Failure) -> str:
    """What a failure says, also where its text is one of the encoded attributes."""
    if failure.encoded_attributes is None:
        return failure.message
    error = converter.from_failure(failure)
    return str(getattr(error, "message", error))


def _encodings(payloads: Sequence[Payload]) -> str:
    names = {payload.metadata.get("encoding", b"").decode(errors="replace") or "none" for payload in payloads}
    return f"it is stored with the encoding {', '.join(sorted(names))}"


@contextmanager
def _noted(note: str) -> Generator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise
