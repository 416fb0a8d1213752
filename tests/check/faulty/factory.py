"""A field's factory makes ids."""

# ruff: noqa
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from durable import activity, workflow


@dataclass
class Line:
    sku: str
    id: UUID = field(default_factory=uuid4)  # DUR104


@workflow.defn
async def order(skus: list[str]) -> list[str]:
    return [str(Line(sku).id) for sku in skus]
