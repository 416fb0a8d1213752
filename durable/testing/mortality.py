"""Tasks that stop as if their process had been killed: from one moment on nothing of theirs runs, not even ``finally``.

A `Life` is what a simulated process is made of: every task that is begun in its context, and whatever those begin.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

THROWS_MAX = 100
"""A coroutine that goes on waiting after so many cancellations (a TaskGroup, for its tasks) is closed."""


class Life:
    """The tasks of one simulated process. ``end`` stops them all where they are; ``bury`` lets go of them."""

    def __init__(self) -> None:
        self.over = False
        self.buried = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of this life; the loop must be in a `mortal` block."""
        context = contextvars.copy_context()
        context.run(_life.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def end(self) -> None:
        """From now on no task of this life takes another step. Whoever calls it from within stops at its next wait."""
        self.over = True

    async def bury(self) -> None:
        """End the stopped coroutines. What their ``finally`` blocks do has no effect on the engine any more."""
        self.over = self.buried = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what never started was "never awaited"
            while left := [task for task in self._tasks if not task.done()]:
                for task in left:
                    task.cancel()
                await asyncio.wait(left)

    def adopt(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return _lived(_Mortal(self, coroutine))

    def keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_life: contextvars.ContextVar[Life | None] = contextvars.ContextVar("durable_testing_life", default=None)


@contextmanager
def mortal(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """In this block what is begun on ``loop`` in the context of a life belongs to that life."""
    before = loop.get_task_factory()
    loop.set_task_factory(_factory(before))
    try:
        yield
    finally:
        loop.set_task_factory(before)


def _factory(before: Callable[..., Any] | None) -> Callable[..., Any]:
    def make(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> Any:
        context: contextvars.Context | None = options.get("context")
        life = _life.get() if context is None else context.get(_life)
        carried = coroutine if life is None else life.adopt(coroutine)
        task = asyncio.Task(carried, loop=loop, **options) if before is None else before(loop, carried, **options)
        if life is not None:
            life.keep(task)
        return task

    return make


async def _lived(mortal: Awaitable[T]) -> T:
    return await mortal


class _Mortal(Awaitable[T]):
    """A coroutine, carried from wait to wait for as long as its life lasts."""

    def __init__(self, life: Life, coroutine: Coroutine[Any, Any, T]) -> None:
        self._life = life
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while not self._life.over:
            try:
                awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            error = None
            if self._life.over:
                break  # it has ended its own life; what it wants to wait for, nobody waits for
            try:
                yield awaited
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as thrown:
                error = thrown
        while not self._life.buried:
            try:
                yield from asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                pass  # somebody's scope or timeout: the dead hear nothing
        self._end()
        raise asyncio.CancelledError

    def _end(self) -> None:
        with _unheard():
            for _ in range(THROWS_MAX):
                try:
                    self._coroutine.throw(asyncio.CancelledError())
                except BaseException:
                    return
            for _ in range(THROWS_MAX):
                try:
                    return self._coroutine.close()
                except BaseException:
                    pass  # it waits while it is closed, or it has ended with an error: then it is closed


@contextmanager
def _unheard() -> Generator[None]:
    """The dead log nothing."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
