"""Imports in a block, as Temporal asks for them."""

# ruff: noqa
from durable import activity, workflow


with workflow.unsafe.imports_passed_through():
    import json
    import requests
    import sqlite3


@workflow.defn
async def parse(text: str) -> int:
    try:
        return int(json.loads(text)["n"])
    except (KeyError, requests.HTTPError, sqlite3.Error):
        return 0
