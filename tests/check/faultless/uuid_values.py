"""Ids that are made of names, or parsed."""

# ruff: noqa
import uuid
from uuid import UUID

from durable import activity, workflow


@workflow.defn
async def derive(name: str, id: UUID) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) + UUID(str(id)).hex
