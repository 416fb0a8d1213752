"""encryption, custom_converter and pydantic_models: what becomes of values on their way to the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag

from durable import Client
from durable.converter import ActivitySerializationContext, DataConverter, Payload, WorkflowSerializationContext
from durable.history.payloads import payload_lists
from durable.worker import Worker
from encryption import TASK_QUEUE, EncryptionCodec, Pay, charge, encrypting, history_of, pay
from pydantic_models import TakeOrder
from tests.samples.conftest import Folder

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


async def test_an_encrypted_database_tells_a_thief_nothing(folder: Folder) -> None:
    said = await folder.run("encryption")

    assert said.splitlines() == [
        "40 euros from card 4711-0815",
        "Refused: the bank refuses card 4711-0815",
        "with both keys: 40 euros from card 4711-0815",
        "without a key: False",
        "without a key: False",
    ]
    files = [path for path in folder.path.glob("durable.db*") if path.is_file()]
    assert files
    stored = b"".join(path.read_bytes() for path in files)
    assert b"Pay" in stored and b"Encoded failure" in stored  # it is the right file
    for clear in (b"4711", b"0815", b"euros", b"the bank refuses", b"raise ApplicationError"):
        assert clear not in stored
    (new, old) = [
        {p.metadata["encryption-key-id"] for event in history.events for each in payload_lists(event) for p in each}
        for history in reversed(await folder.histories())
    ]
    assert (old, new) == ({b"spring"}, {b"summer"})


@pytest.mark.parametrize("euros", [40, 4000], ids=["result", "failure"])
async def test_a_thief_would_find_the_card_if_there_were_no_encryption(euros: int) -> None:
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Pay], activities=[charge]):
            await pay(client, "payment", euros)

        assert b"4711" in await history_of(client, "payment")


async def test_types_of_others_go_through_a_workflow_and_back(folder: Folder) -> None:
    said = await folder.run("custom_converter")

    assert said == "Rome {'high': 16.0, 'low': 8.0, 'mean': 12.0}\n"
    (history,) = await folder.histories()
    encodings = [p.metadata["encoding"] for event in history.events for each in payload_lists(event) for p in each]
    assert b"binary/floats" in encodings and b"json/plain" in encodings


async def test_models_are_checked_and_come_back_as_what_they_were(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("pydantic_models")

    assert said.splitlines() == [
        "'lamp' 23.8000 kind='invoice' due=datetime.date(2026, 12, 1)",
        "Input should be greater than 0",
    ]
    histories = await folder.histories()
    replay(histories, TakeOrder)


async def test_a_key_that_is_missing_is_named(folder: Folder) -> None:
    address = f"sqlite:///{folder.path / 'durable.db'}"
    async with await Client.connect(address, data_converter=encrypting({"a": KEY}, "a")) as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Pay], activities=[charge]):
            await pay(client, "payment", 5)
    async with await Client.connect(address, data_converter=encrypting({"b": OTHER_KEY}, "b")) as client:
        with pytest.raises(Exception, match="key 'a', which is not here"):
            await client.get_workflow_handle("payment").result()


async def test_a_sealed_payload_opens_for_its_own_workflow_and_its_activities_only() -> None:
    codec = EncryptionCodec({"a": KEY}, "a")
    payload = DataConverter.default.to_payloads(["secret"])[0]
    ours = codec.with_context(WorkflowSerializationContext("default", "order-7"))
    (sealed,) = await ours.encode([payload])
    assert b"secret" not in sealed.data

    activity = ActivitySerializationContext("default", "5", "charge", "queue", "order-7", "Pay", False)
    for allowed in (ours, codec.with_context(activity)):
        assert await allowed.decode([sealed]) == [payload]
    others = [
        codec,
        codec.with_context(WorkflowSerializationContext("default", "order-8")),
        codec.with_context(WorkflowSerializationContext("other", "order-7")),
        EncryptionCodec({"a": OTHER_KEY}, "a").with_context(activity),
    ]
    for other in others:
        with pytest.raises(InvalidTag):
            await other.decode([sealed])
    changed = Payload(metadata=sealed.metadata, data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))
    with pytest.raises(InvalidTag):
        await ours.decode([changed])
    assert await ours.decode([payload]) == [payload]  # from before there was encryption
