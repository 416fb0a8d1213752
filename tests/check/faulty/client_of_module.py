"""The network, by a client that the module made."""

# ruff: noqa
import httpx

from durable import activity, workflow


http = httpx.AsyncClient()


@workflow.defn
async def fetch(url: str) -> str:
    response = await http.get(url)  # DUR106
    return response.text
