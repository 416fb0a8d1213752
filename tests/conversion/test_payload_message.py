"""Payloads as programs written for Temporal use its messages; protobuf itself is the judge of the bytes."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common import v1 as theirs

from durable.api.common.v1 import Payload, Payloads, SearchAttributes, WorkflowExecution

METADATA = st.dictionaries(st.text(max_size=20), st.binary(max_size=200), max_size=5)
DATA = st.binary(max_size=500)
BROKEN = [
    b"\xff",
    b"\x0a",
    b"\x0a\x05ab",
    b"\x00\x01",
    b"\x12\x80",
    b"\x0b\x08\x01",
    b"\x0c",
    b"\x15\x01",
    b"\x0a\x03\x0a\x01\xff",
]


@given(METADATA, DATA)
def test_protobuf_reads_what_we_write_and_writes_the_same_bytes_but_for_the_order_of_keys(
    metadata: dict[str, bytes], data: bytes
) -> None:
    written = Payload(metadata=metadata, data=data).SerializeToString()
    message = theirs.Payload.FromString(written)
    assert (dict(message.metadata), message.data) == (metadata, data)
    assert sorted(message.SerializeToString()) == sorted(written)
    assert Payload(metadata=metadata, data=data).ByteSize() == message.ByteSize()


@given(METADATA, DATA)
def test_we_read_what_protobuf_writes_in_any_order(metadata: dict[str, bytes], data: bytes) -> None:
    written = theirs.Payload(metadata=metadata, data=data).SerializeToString()
    assert Payload.FromString(written) == Payload(metadata=metadata, data=data)


@given(st.lists(st.builds(Payload, metadata=METADATA, data=DATA), max_size=4))
def test_several_payloads_go_both_ways(payloads: list[Payload]) -> None:
    written = Payloads(payloads=payloads).SerializeToString()
    message = theirs.Payloads.FromString(written)
    assert Payloads(payloads=payloads).ByteSize() == message.ByteSize()
    assert [(dict(each.metadata), each.data) for each in message.payloads] == [(p.metadata, p.data) for p in payloads]
    assert Payloads.FromString(message.SerializeToString()) == Payloads(payloads=payloads)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_protobuf_reads_them_or_refused_as_it_does(data: bytes) -> None:
    try:
        message = theirs.Payload.FromString(data)
    except Exception:
        with pytest.raises(ValueError, match=r"protobuf's wire format|utf-8"):
            Payload.FromString(data)
    else:
        read = Payload.FromString(data)
        assert (read.metadata, read.data) == (dict(message.metadata), message.data)


def test_fields_of_later_versions_are_passed_over() -> None:
    message = theirs.Payload(metadata={"a": b"1"}, data=b"2")
    message.external_payloads.add(size_bytes=2**40)
    group = (
        b"\x4b\x08\x01\x53\x0d\x00\x00\x00\x00\x54\x4c"  # field 9, with a varint, another group and a fixed32 within
    )
    later = message.SerializeToString() + group + b"\x49" + bytes(8) + b"\x7d" + bytes(4)
    assert Payload.FromString(later) == Payload(metadata={"a": b"1"}, data=b"2")


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"protobuf's wire format|utf-8"):
        Payload.FromString(data)


def test_a_payload_is_used_as_temporals() -> None:
    payload = Payload()
    payload.metadata["encoding"] = b"json/plain"
    payload.data = b"1"
    assert payload == Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    assert "encoding" in payload.metadata and payload.metadata.get("other") is None
    assert payload.ParseFromString(b"\x12\x01x") == 3
    assert payload == Payload(data=b"x")


def test_a_copy_shares_nothing() -> None:
    payload = Payload(metadata={"a": b"1"}, data=b"2")
    copies = [deepcopy(payload), pickle.loads(pickle.dumps(payload)), Payload(data=b"before")]
    copies[2].CopyFrom(payload)
    for copy in copies:
        assert copy == payload
        copy.metadata["a"] = b"changed"
    assert payload.metadata == {"a": b"1"}

    payloads = Payloads()
    payloads.CopyFrom(Payloads(payloads=[payload]))
    payloads.payloads[0].data = b"changed"
    assert payload.data == b"2"


def test_fields_that_can_not_be_absent_say_so_as_protobufs_do() -> None:
    for message in (Payload(), theirs.Payload()):
        with pytest.raises(ValueError, match=r"Field .*Payload.data does not have presence"):
            message.HasField("data")
        with pytest.raises(ValueError, match='Protocol message Payload has no "nope" field'):
            message.HasField("nope")


def test_the_other_messages_are_there_under_their_names() -> None:
    assert WorkflowExecution(workflow_id="a", run_id="b").workflow_id == "a"
    assert SearchAttributes().indexed_fields == {}
