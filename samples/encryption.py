"""Encryption: what the database holds of values and of errors, nobody can read who has not the key.

    python samples/encryption.py

takes two payments, the second one after the key was changed, and looks at the database as a thief would. A payload
can't be moved to another workflow either: it is sealed for the workflow that it belongs to.
"""

import asyncio
import base64
import dataclasses
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from durable import activity, workflow
from durable.api.common.v1 import Payload
from durable.client import Client, WorkflowFailureError
from durable.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "payments"
ENCODING = b"binary/encrypted"
NONCE_BYTES = 12


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """AES-256-GCM. New payloads are encrypted with the current key; the others are there for what is older."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self.keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.current = current
        self.owner = b""

    def with_context(self, context: SerializationContext) -> Self:
        match context:
            case WorkflowSerializationContext():
                owner = f"{context.namespace}/{context.workflow_id}"
            case ActivitySerializationContext():
                owner = f"{context.namespace}/{context.workflow_id or context.activity_id}"
            case _:
                return self
        codec = type(self).__new__(type(self))
        codec.keys, codec.current, codec.owner = self.keys, self.current, owner.encode()
        return codec

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.decrypted(payload) for payload in payloads]

    def encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self.keys[self.current].encrypt(nonce, payload.SerializeToString(), self.owner)
        metadata = {"encoding": ENCODING, "encryption-key-id": self.current.encode()}
        return Payload(metadata=metadata, data=nonce + sealed)

    def decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload  # from before there was encryption
        key_id = payload.metadata["encryption-key-id"].decode()
        if key_id not in self.keys:
            raise ValueError(f"a payload is encrypted with the key {key_id!r}, which is not here")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        return Payload.FromString(self.keys[key_id].decrypt(nonce, sealed, self.owner))


def encrypting(keys: Mapping[str, bytes], current: str) -> DataConverter:
    """For clients, and so for their workers. The failure converter moves errors' texts to where the codec gets them."""
    return dataclasses.replace(
        DataConverter.default,
        payload_codec=EncryptionCodec(keys, current),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


@dataclass
class Payment:
    card: str
    euros: int


@activity.defn
async def charge(payment: Payment) -> str:
    if payment.euros > 1000:
        raise ApplicationError(
            f"the bank refuses card {payment.card}", payment.card, type="Refused", non_retryable=True
        )
    return f"{payment.euros} euros from card {payment.card}"


@workflow.defn
class Pay:
    @workflow.run
    async def run(self, payment: Payment) -> str:
        return await workflow.execute_activity(charge, payment, start_to_close_timeout=timedelta(seconds=10))


async def pay(client: Client, workflow_id: str, euros: int) -> str:
    payment = Payment("4711-0815", euros)
    try:
        return await client.execute_workflow(Pay.run, payment, id=workflow_id, task_queue=TASK_QUEUE)
    except WorkflowFailureError as error:
        return str(error.cause.__cause__)


async def history_of(client: Client, workflow_id: str) -> bytes:
    """All that a history tells: it as JSON, in which the data of payloads are base64, and these data decoded."""
    history = (await client.get_workflow_handle(workflow_id).fetch_history()).to_json()
    return b"\n".join([history.encode(), *map(base64.b64decode, re.findall(r'"data": ?"([^"]*)"', history))])


async def main() -> None:
    keys = {"spring": AESGCM.generate_key(bit_length=256)}  # yours come from where you keep secrets
    run = uuid.uuid4().hex[:8]
    async with await Client.connect(data_converter=encrypting(keys, "spring")) as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Pay], activities=[charge]):
            print(await pay(client, f"pay-{run}-1", 40))

    keys["summer"] = AESGCM.generate_key(bit_length=256)
    async with await Client.connect(data_converter=encrypting(keys, "summer")) as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Pay], activities=[charge]):
            print(await pay(client, f"pay-{run}-2", 4000))
        print("with both keys:", await client.get_workflow_handle(f"pay-{run}-1").result())

    async with await Client.connect() as thief:
        for workflow_id in (f"pay-{run}-1", f"pay-{run}-2"):
            print("without a key:", b"4711" in await history_of(thief, workflow_id))


if __name__ == "__main__":
    asyncio.run(main())
