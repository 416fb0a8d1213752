"""Compensation: steps that undo what was done, run in reverse order when the block fails or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ParamSpec

from durable.exceptions import ApplicationError

P = ParamSpec("P")


class Saga:
    """Collects compensations; see `saga`."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...], dict[str, Any]]] = []

    def compensate_with(self, step: Callable[P, Awaitable[Any]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Register ``step(*args, **kwargs)``: an activity, or any async function. The last registered runs first."""
        self._steps.append((step, args, kwargs))

    async def compensate(self) -> list[BaseException]:
        """Run what is registered, last first, each to its end whatever the others do; the errors, in that order.

        Runs nothing twice: what has run is no longer registered.
        """
        errors: list[BaseException] = []
        while self._steps:
            step, args, kwargs = self._steps.pop()
            try:
                await step(*args, **kwargs)
            except asyncio.CancelledError as error:
                errors.append(error)
            except Exception as error:
                errors.append(error)
        return errors

    async def __aenter__(self) -> Saga:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Only what ends the block by failing or being cancelled is compensated for: an eviction, a generator being
        # closed or an interpreter going down is no decision of the workflow.
        if error is None or not isinstance(error, Exception | asyncio.CancelledError) or not self._steps:
            return
        errors = await _shielded(self.compensate())
        if errors:
            raise ApplicationError(
                f"{len(errors)} of the saga's compensations failed; it began with {_text(error)}",
                [_text(each) for each in errors],
                type="CompensationFailed",
                non_retryable=True,
            ) from error


def saga() -> Saga:
    """``async with workflow.saga() as saga:`` — then, after each step that has an inverse,
    ``saga.compensate_with(undo, result)``.

    If the block raises, or is cancelled, the registered steps run in reverse order, durably, shielded from further
    cancellation; then the error goes on its way. If compensations fail, the others still run, and an
    `ApplicationError` of type ``CompensationFailed`` is raised whose details list every error, and whose cause is the
    original one.
    """
    return Saga()


async def _shielded(work: Awaitable[list[BaseException]]) -> list[BaseException]:
    """``work`` to its end, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()


def _text(error: BaseException) -> str:
    """The error and what caused it, in a line."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < 10:
        parts.append(f"{type(link).__name__}: {link}")
        link = link.__cause__
    return " <- ".join(parts)
