"""Waiting in workflow code, in an order that every replay repeats."""

from __future__ import annotations

import asyncio
from asyncio import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from durable.context import this_workflow
from durable.workflow.groups import EventGroup

T = TypeVar("T")
F = TypeVar("F", bound="asyncio.Future[Any]")


async def sleep(
    duration: float | timedelta, *, summary: str | None = None, event_groups: Sequence[EventGroup] | None = None
) -> None:
    """A durable timer: it survives the death of any process. ``duration`` in seconds, or a timedelta.

    `asyncio.sleep` is the same, but for a zero duration: a timer too here, a mere yield there. ``summary`` is a line
    for whoever reads the history; ``event_groups`` are taken for compatibility. RuntimeError for a negative duration.
    """
    run = this_workflow()
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    run.summarize_timer(summary)
    try:
        timer = asyncio.get_running_loop().call_later(_seconds(duration), _wake, woken)
    finally:
        run.summarize_timer(None)
    try:
        await woken
    finally:
        timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


async def wait_condition(
    fn: Callable[[], bool],
    *,
    timeout: timedelta | float | None = None,
    timeout_summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> None:
    """Wait until ``fn()`` is true. It is called, in the order of registration, each time the run has run dry.

    ``timeout`` (seconds or timedelta; None makes no timer) raises `asyncio.TimeoutError`. An exception that ``fn``
    raises fails the workflow task. ``timeout_summary`` is a line for whoever reads the history.
    """
    run = this_workflow()
    run.summarize_timer(timeout_summary if timeout is not None else None)
    try:
        await run.wait_condition(fn, None if timeout is None else _seconds(timeout))
    finally:
        run.summarize_timer(None)


async def wait(
    fs: Iterable[F], *, timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> tuple[list[F], list[F]]:
    """`asyncio.wait` with lists instead of sets: (done, pending), each in the order in which they were given.

    Takes tasks and futures only. ``timeout`` in seconds makes a durable timer.
    """
    futures = list(dict.fromkeys(fs))
    if not futures:
        raise ValueError("Set of Tasks/Futures is empty.")
    for each in futures:
        if not asyncio.isfuture(each):
            raise TypeError("Passing coroutines is forbidden, use tasks explicitly.")
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"Invalid return_when value: {return_when}")
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def enough() -> bool:
        done = [each for each in futures if each.done()]
        if return_when == FIRST_COMPLETED:
            return bool(done)
        if return_when == FIRST_EXCEPTION and any(not f.cancelled() and f.exception() for f in done):
            return True
        return len(done) == len(futures)

    def on_done(_: object) -> None:
        if not waiter.done() and enough():
            waiter.set_result(None)

    if not enough():
        timer = None if timeout is None else loop.call_later(timeout, _release, waiter)
        for each in futures:
            each.add_done_callback(on_done)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            for each in futures:
                each.remove_done_callback(on_done)
    return [f for f in futures if f.done()], [f for f in futures if not f.done()]


def as_completed(fs: Iterable[Awaitable[T]], *, timeout: float | None = None) -> Iterator[Awaitable[T]]:
    """`asyncio.as_completed`, deterministic: awaitables in order of completion, ties in the order given.

    ``timeout`` in seconds: what is awaited after it raises `asyncio.TimeoutError`.
    """
    futures = list(dict.fromkeys(asyncio.ensure_future(each) for each in fs))
    loop = asyncio.get_running_loop()
    finished: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()
    left = len(futures)

    def on_done(future: asyncio.Future[T]) -> None:
        nonlocal left
        left -= 1
        finished.put_nowait(future)
        if not left and timer is not None:
            timer.cancel()

    def on_timeout() -> None:
        for each in futures:
            if not each.done():
                each.remove_done_callback(on_done)
                finished.put_nowait(None)

    async def next_finished() -> T:
        future = await finished.get()
        if future is None:
            raise TimeoutError
        return future.result()

    timer = None if timeout is None or not futures else loop.call_later(timeout, on_timeout)
    for each in futures:
        each.add_done_callback(on_done)
    for _ in futures:
        yield next_finished()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
