"""What is stored of events, commands and messages: every payload within goes through the codec, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.converter import DataConverter, Payload
from durable.history.beginning import StartRequest
from durable.history.commands import Command, RecordMarker, StartChildWorkflowExecution
from durable.history.events import HistoryEvent, MarkerRecorded, UpsertWorkflowSearchAttributes
from durable.history.messages import Message, QueryAnswer, Signal, UpdateAnswer
from durable.history.payloads import payload_lists, with_payload_lists
from durable.history.transition import ActivityProgress, ActivitySpec, Transition
from durable.history.values import Failure, UpdateOutcome, UpdateRequest
from tests.conversion.test_codec import Base64
from tests.history import examples

CONVERTER = DataConverter(payload_codec=Base64())
KINDS: list[type[Any]] = [
    *get_args(HistoryEvent),
    *get_args(Command),
    *get_args(Message),
    StartRequest,
    ActivitySpec,
    ActivityProgress,
    UpdateRequest,
    UpdateOutcome,
    UpdateAnswer,
    QueryAnswer,
    Failure,
]


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Where payloads are, and their encoding, found in the plain data that is stored."""
    if isinstance(value, dict):
        if set(value) == {"metadata", "data"} and isinstance(value["metadata"], dict):
            yield path, value["metadata"].get("encoding", b"")
        else:
            for key, item in value.items():
                yield from places(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from places(item, path)


def plain(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def stays_clear(path: tuple[str, ...], headers: bool) -> bool:
    notes = path[-2:] in (("details", "data"), ("details", "patch-data"))
    return "search_attributes" in path or notes or (not headers and "header" in path)


def drawn(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type, every field of a struct by its own."""
    if kind in KNOWN:
        return KNOWN[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of([drawn(each) for each in args])
    if origin in (list, tuple, Sequence):
        return st.lists(drawn(args[0]), max_size=2).map(tuple if origin is tuple else list)
    if origin is dict:
        return st.dictionaries(drawn(args[0]), drawn(args[1]), max_size=2)
    if issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: drawn(field.type) for field in msgspec.structs.fields(kind)})
    return st.sampled_from(kind)


KNOWN: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    str: examples.texts,
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    int: st.integers(0, 100),
    float: st.floats(0, 10),
    Payload: examples.payloads,
    Failure: examples.failures,
    Transition: st.nothing(),  # what a start replaces, ready to be stored
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_goes_in_comes_out_and_is_encoded_in_between(kind: type[Any]) -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=8)
        @given(drawn(kind), st.booleans())
        def holds(value: Any, headers: bool) -> None:
            before = plain(value)
            stored = runner.run(CONVERTER.stored(value, headers=headers))

            assert plain(value) == before  # it is as it was
            assert [path for path, _ in places(plain(stored))] == [path for path, _ in places(before)]
            for path, encoding in places(plain(stored)):
                assert (encoding == b"test/b64") is not stays_clear(path, headers), path
            assert runner.run(CONVERTER.read(stored, headers=headers)) == value
            assert with_payload_lists(value, payload_lists(value, headers=headers), headers=headers) == value

        holds()


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


async def test_the_engines_notes_in_markers_and_search_attributes_stay_clear() -> None:
    details = {"data": [payload("1")], "patch-data": [payload("2")], "result": [payload("3"), payload("4")]}
    for marker in (
        RecordMarker(marker_name="m", details=details),
        MarkerRecorded(id=1, time_us=1, marker_name="m", workflow_task_completed_event_id=1, details=details),
    ):
        stored = await CONVERTER.stored(marker)
        assert stored.details["data"] == details["data"] and stored.details["patch-data"] == details["patch-data"]
        assert [each.metadata["encoding"] for each in stored.details["result"]] == [b"test/b64"] * 2
    upsert = UpsertWorkflowSearchAttributes(
        id=1, time_us=1, workflow_task_completed_event_id=1, search_attributes={"a": payload("5")}
    )
    assert await CONVERTER.stored(upsert) is upsert


async def test_names_of_the_users_own_are_no_fields_of_ours() -> None:
    """A memo may have any keys."""
    memo = {name: payload(name) for name in ("search_attributes", "header", "data", "patch-data", "details")}
    child = StartChildWorkflowExecution(
        namespace="n", workflow_id="w", workflow_type="t", task_queue="q", memo=memo, search_attributes=memo
    )
    stored = await CONVERTER.stored(child)
    assert {each.metadata["encoding"] for each in stored.memo.values()} == {b"test/b64"}
    assert stored.search_attributes == memo and await CONVERTER.read(stored) == child


async def test_headers_are_encoded_only_where_asked_for() -> None:
    signal = Signal(name="s", input=[payload("1")], header={"h": payload("2")})
    without, with_headers = await CONVERTER.stored(signal), await CONVERTER.stored(signal, headers=True)
    assert without.header == signal.header and with_headers.header["h"].metadata["encoding"] == b"test/b64"
    assert without.input[0].metadata["encoding"] == with_headers.input[0].metadata["encoding"] == b"test/b64"


async def test_a_codec_may_make_one_of_several_in_a_list_and_not_of_one_that_stands_alone() -> None:
    class Joining(Base64):
        async def encode(self, payloads: Any) -> list[Payload]:
            joined = b"\n".join(each.data for each in payloads)
            return [Payload(data=joined)] * (2 if b"twice" in joined else 1)

    converter = DataConverter(payload_codec=Joining())
    assert await converter.stored([payload("1"), payload("2")]) == [Payload(data=b"1\n2")]
    with pytest.raises(ValueError, match="a codec made 2 payloads of one that stands alone"):
        await converter.stored(Failure(encoded_attributes=payload("twice")))


async def test_without_a_codec_everything_is_itself() -> None:
    signal = Signal(name="s", input=[payload("1")])
    assert DataConverter.default.is_plain
    assert await DataConverter.default.stored(signal) is signal is await DataConverter.default.read(signal)
    assert await CONVERTER.stored(Signal(name="s")) == Signal(name="s")
