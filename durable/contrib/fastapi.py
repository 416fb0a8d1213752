"""FastAPI: the app's client as a parameter of its handlers. All else is `durable.contrib.starlette`'s.

app = FastAPI(lifespan=durable_lifespan("sqlite:///app.db", workflows=[…], activities=[…]))

@app.post("/orders/{id}")
async def order(id: str, client: DurableClient) -> None: ...
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends

from durable.client import Client
from durable.contrib.starlette import durable_lifespan, get_client, health

__all__ = ["DurableClient", "durable_lifespan", "get_client", "health"]

DurableClient: TypeAlias = Annotated[Client, Depends(get_client)]
"""The app's client, as a parameter of a path function."""
