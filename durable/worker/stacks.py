"""Pure: where suspended code waits. Its frames have no ``f_back``: only its coroutines know what awaits what."""

from __future__ import annotations

import gc
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType
from typing import Any, cast

from durable.worker.lines import is_user_code

Place = tuple[FrameType, int]
"""A frame and its line."""

# What stands between a coroutine and the code that it awaits, and shows it to the garbage collector only.
_WRAPPERS = frozenset(("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"))


def suspended(awaited: Any) -> list[Place]:
    """The frames of a coroutine that waits, and of all that it awaits in turn: outermost first, as in a stack."""
    places: list[Place] = []
    while awaited is not None:
        match awaited:
            case CoroutineType():
                frame, awaited = awaited.cr_frame, awaited.cr_await
            case AsyncGeneratorType():
                frame, awaited = awaited.ag_frame, awaited.ag_await
            case GeneratorType():
                frame, awaited = awaited.gi_frame, cast(Any, awaited.gi_yieldfrom)  # pyright: ignore[reportUnknownMemberType]
            case _:
                frame, awaited = None, _wrapped(awaited)
        if frame is not None:
            places.append((frame, frame.f_lineno))
    return places


def raised(traceback: TracebackType | None) -> list[Place]:
    """The frames that an exception went through, outermost first."""
    places: list[Place] = []
    while traceback is not None:
        places.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return places


def of_users(places: list[Place]) -> list[Place]:
    """Without the engine's and asyncio's frames, unless there are no others."""
    return [place for place in places if is_user_code(place[0].f_code.co_filename)] or places


def placeholder(function: Any) -> FrameType:
    """A frame at a function's first line, with its module's globals: where it stands before it has begun."""
    code = function.__code__
    source = "\n" * (code.co_firstlineno - 1) + f"def {code.co_name}(): yield"
    space: dict[str, Any] = {}
    exec(compile(source, code.co_filename, "exec"), function.__globals__, space)
    generator: Any = space[code.co_name]()
    frame: FrameType = generator.gi_frame
    return frame


def _wrapped(awaited: Any) -> Any:
    if type(awaited).__name__ not in _WRAPPERS:
        return None
    for found in gc.get_referents(awaited):
        if isinstance(found, CoroutineType | AsyncGeneratorType | GeneratorType) or type(found).__name__ in _WRAPPERS:
            return found  # pyright: ignore[reportUnknownVariableType]
    return None
