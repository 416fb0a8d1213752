"""What starts the program is no workflow code."""

# ruff: noqa
import asyncio
import os
import sys
import uuid

from durable import activity, workflow


@workflow.defn
async def hello(name: str) -> str:
    return f"Hello, {name}"


async def main() -> None:
    print(os.environ["USER"], sys.argv, uuid.uuid4(), open("x").read(), hello)


if __name__ == "__main__":
    asyncio.run(main())
