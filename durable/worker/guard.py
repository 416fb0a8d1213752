"""Refuses workflow code what it must not touch, by name and line: I/O by an audit hook, clock and chance by a profiler.

The audit hook is one per process and can't be removed; while its thread steps no run, it costs a look into a dict.
Clocks and chance make no audit event. A thread-wide profiler sees each call, but slows every one of them, so only the
steps of workflows whose code names a clock or a source of chance (see `suspicion`) are profiled.
"""

from __future__ import annotations

import functools
import os
import reprlib
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

from durable.context import WorkflowContext, maybe_workflow, stepping
from durable.worker.lines import Author, author
from durable.worker.loop import is_collecting
from durable.worker.restricted import AUDIT_EVENTS, REFUSED, RestrictedWorkflowAccessError, functions, of_subclass
from durable.worker.runner import WorkflowRunner
from durable.workflow.sandbox import unsafe

# What these do on behalf of workflow code is no matter of its own: imports, source lines for tracebacks, time zone
# data, where log lines go; and the tools of whoever looks on.
TRUSTED = frozenset(
    "importlib _frozen_importlib _frozen_importlib_external zipimport importlib_metadata importlib_resources "
    "pkg_resources linecache tokenize zoneinfo tzdata dateutil pytz logging loguru structlog sentry_sdk opentelemetry "
    "coverage bdb pdb pydevd _pydevd_bundle _pydevd_frame_eval _pydev_bundle debugpy".split()
)

_STEPS = frozenset({"Run.activate", "Run.query", "Run.evict"})


_CALLS = functions()


def refusals(runner: WorkflowRunner) -> frozenset[str]:
    """What workflow code that this runner runs is refused; from here on, it is."""
    if runner.refused:
        _install()
    return runner.refused


@functools.cache
def _install() -> None:
    sys.addaudithook(_audit)


def _audit(
    event: str,
    args: tuple[Any, ...],
    names: dict[str, str] = AUDIT_EVENTS,
    current: Callable[[], Any] = maybe_workflow,
) -> None:
    name = names.get(event)
    if name is None or (run := current()) is None:
        return
    if event == "open" and args[1:2] == (None,):
        name = "os.open"
    if name in run.refused:
        _refuse(run, name, args)


class profiled_stepping(stepping):
    """Like `stepping`; the code's calls of clocks and chance are refused in the block."""

    __slots__ = ("_profiler",)

    def __enter__(self) -> None:
        super().__enter__()
        self._profiler = sys.getprofile()
        if self._profiler is None:  # else somebody measures this thread, or a block around this one watches it
            sys.setprofile(_profile)

    def __exit__(self, *exc: object) -> None:
        if self._profiler is None or self._profiler is _profile:  # Python takes it away when it has refused something
            sys.setprofile(self._profiler)
        super().__exit__(*exc)


def _profile(frame: FrameType, event: str, function: Any) -> None:
    if event != "c_call":
        return
    name = _CALLS.get(function) or of_subclass(function)
    if name is None or (run := maybe_workflow()) is None or name not in run.refused:
        return
    # A library may look at the clock for its own sake, to measure or to tell; pydantic runs what a model says.
    others = (each for each in _frames(frame) if author(each.f_code.co_filename) is not Author.PYTHON)
    caller = next((each for each in others if _package(each) != "pydantic"), frame)
    if author(caller.f_code.co_filename) is Author.USER or _package(caller) == _package(run.definition.run):
        _refuse(run, name, ())


def _package(code: FrameType | Callable[..., Any]) -> str:
    module = code.f_globals.get("__name__") if isinstance(code, FrameType) else code.__module__
    return str(module).partition(".")[0]


def _refuse(run: WorkflowContext, name: str, args: tuple[Any, ...]) -> None:
    """Tell the run and raise, unless it is not the workflow code's doing, or the code may do it here."""
    if unsafe.is_sandbox_unrestricted() or is_collecting() or _is_time_zone(args):
        return
    frames = list(_frames(sys._getframe(2)))  # pyright: ignore[reportPrivateUsage]
    if any(_package(frame) in TRUSTED for frame in frames):
        return
    error = _refusal(name, args, frames)
    run.note_refusal(error)
    raise error


def _is_time_zone(args: tuple[Any, ...]) -> bool:
    """`zoneinfo` opens its files in C, without a frame of its own."""
    return bool(args) and isinstance(args[0], str) and args[0].startswith(zoneinfo.TZPATH)


def _refusal(name: str, args: tuple[Any, ...], frames: list[FrameType]) -> RestrictedWorkflowAccessError:
    authors = [author(frame.f_code.co_filename) for frame in frames]
    at = authors.index(max(authors)) if any(authors) else None
    what, where = _told(name, args), ""
    if at is not None:
        where = f" at {frames[at].f_code.co_filename}:{frames[at].f_lineno}"
    # What stands between is what the code has called; not a method that is generated.
    between = [each for each in frames[:at] if not each.f_code.co_filename.startswith("<")]
    if between:
        called = between[-1]
        what = f"{called.f_globals.get('__name__')}.{called.f_code.co_qualname}(), by {what},"
    return RestrictedWorkflowAccessError(
        name,
        override_message=f"{what}{where} can't be called in workflow code, because a replay would not repeat it: "
        f"{REFUSED[name]}",
    )


def _told(name: str, args: tuple[Any, ...]) -> str:
    short = name.removeprefix("__builtins__.")
    for arg in args:
        if isinstance(arg, str | bytes | os.PathLike | tuple | list):
            return f"{short}({reprlib.repr(cast('Any', arg))})"
    return f"{short}()"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost to where the engine began the step."""
    while frame is not None and frame.f_code.co_qualname not in _STEPS:
        yield frame
        frame = frame.f_back
