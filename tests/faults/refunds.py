"""The refund case: a service that pays back over HTTP, and worker processes that are killed around the call to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.activity import Happened
from durable.history import attempts
from durable.history.transition import ActivityReport, NewMessage, Outcome, Transition, Write

LEASE = timedelta(seconds=0.3)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)

POINTS = ("before", "effect", "reply", "commit", "recorded")
"""Where a process dies: before the request, when the service has paid and not answered, when the answer is there, right
before the outcome is recorded, right after."""
ASKING = "asking"
"""While it asks whether an attempt before has paid."""


class Service:
    """Pays back. ``honours_keys``: once for each key. Whoever asks for its own death is dead when it has paid."""

    def __init__(self, *, honours_keys: bool) -> None:
        self.paid: list[tuple[str, str]] = []
        """(order, key); the number of a refund is its place."""
        self.port = 0
        self._honours_keys = honours_keys

    async def __aenter__(self) -> Service:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def times(self) -> Counter[str]:
        """How often each order was paid."""
        return Counter(order for order, _ in self.paid)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        path, asked = urlsplit(target).path, parse_qs(urlsplit(target).query)
        number = self._pay(path[1:], asked["key"][0]) if method == "POST" else self._found(asked["key"][0])
        if "pid" in asked:
            os.kill(int(asked["pid"][0]), signal.SIGKILL)
        status = "404 Not Found" if number is None else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{'' if number is None else number}".encode())
        writer.close()

    def _found(self, key: str) -> int | None:
        return next((number for number, (_, paid) in enumerate(self.paid) if paid == key), None)

    def _pay(self, order: str, key: str) -> int:
        known = self._found(key) if self._honours_keys else None
        if known is not None:
            return known
        self.paid.append((order, key))
        return len(self.paid) - 1


async def ask(port: int, request: str) -> int | None:
    """The number of a refund; None if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, number = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
        raise ConnectionError("no answer")
    return int(number) if number else None


@workflow.defn
async def refunding(order: str) -> Any:
    return await workflow.execute_activity(
        "refund", order, start_to_close_timeout=timedelta(minutes=5), retry_policy=SOON
    )


@dataclass(frozen=True)
class Scene:
    """Where it happens; ``verifies``: the activity has a verify function."""

    address: str
    port: int
    verifies: bool


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refund_in(scene: Scene, point: str) -> Any:
    """The activity, whose process dies at a point; "": at none."""

    async def verify(order: str) -> Happened | None:
        number = await ask(scene.port, f"GET /?key={activity.info().idempotency_key}")
        if point == ASKING:
            die()
        return None if number is None else Happened(number)

    @activity.defn(name="refund", after_crash=verify if scene.verifies else "retry")
    async def refund(order: str) -> int | None:
        if point == "before":
            die()
        pid = f"&pid={os.getpid()}" if point == "effect" else ""
        number = await ask(scene.port, f"POST /{order}?key={activity.info().idempotency_key}{pid}")
        if point == "reply":
            die()
        return number

    return refund


def tells_an_outcome(write: Write) -> bool:
    if isinstance(write, Transition):
        return bool(write.finished)
    return isinstance(write, ActivityReport) and isinstance(write.what, NewMessage)


async def serve(scene: Scene, point: str) -> None:
    async with await Client.connect(scene.address) as client:
        store: Any = client.database.store
        commit = store.commit

        async def commit_and_die(writes: Sequence[Write]) -> list[Outcome]:
            is_outcome = any(map(tells_an_outcome, writes))
            if is_outcome and point == "commit":
                die()
            outcomes: list[Outcome] = await commit(writes)
            if is_outcome and point == "recorded":
                die()
            return outcomes

        store.commit = commit_and_die
        await Worker(client, workflows=[refunding], activities=[refund_in(scene, point)], lease=LEASE).run()


def work(scene: Scene, point: str) -> None:
    """The main function of a worker process."""
    logging.disable(logging.CRITICAL)
    attempts.LOST_RETRY_FIRST_US = 1  # no pause before an activity whose workers die one after the other
    asyncio.run(serve(scene, point))
