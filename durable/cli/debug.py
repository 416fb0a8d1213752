"""`durable debug`: pdb in a replayed workflow, with commands that go along its history."""

from __future__ import annotations

import asyncio
import os
import pdb
import sys
import sysconfig
from bdb import BdbQuit, Breakpoint
from collections.abc import Iterable, Sequence
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from itertools import islice
from opcode import opname
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from durable.cli import histories, positions
from durable.cli.modules import Definitions
from durable.cli.refusal import CommandRefused
from durable.client import WorkflowHistory
from durable.common import HeaderCodecBehavior
from durable.converter import DataConverter
from durable.history.events import HistoryEvent, WorkflowExecutionStarted
from durable.worker.debugger import Session
from durable.worker.encoding import CodecError, read_history
from durable.worker.interceptor import Interceptors
from durable.worker.lines import is_user_code
from durable.worker.registry import Registry
from durable.worker.replay import Environment
from durable.worker.stacks import Place
from durable.workflow.errors import NondeterminismError

PAUSES = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
RETURNS = ("RETURN_VALUE", "RETURN_CONST")

_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def only(path: Path) -> WorkflowHistory:
    """The history in this file. `CommandRefused` when there is none, or more than one."""
    found = list(islice(histories.find([path]), 2))
    if len(found) > 1:
        raise CommandRefused(f"{path} holds several histories: give a file with one")
    if not isinstance(found[0].history, WorkflowHistory):
        raise CommandRefused(f"{found[0].place}: {found[0].history}")
    return found[0].history


def debug(history: WorkflowHistory, definitions: Definitions, namespace: str, at: int | None) -> None:
    """Replay a run on this thread up to event ``at``, and talk with the person at the terminal.

    `CommandRefused` for a workflow that ``definitions`` lack, for an event that is not there, for what is no history.
    """
    started = history.events[0] if history.events else None
    if not isinstance(started, WorkflowExecutionStarted):
        raise CommandRefused("this is no history of a run: it does not begin with WorkflowExecutionStarted")
    name = started.workflow_type
    definition = Registry(definitions.workflows.values(), ()).workflow(name) if definitions.workflows else None
    if definition is None:
        known = ", ".join(sorted(definitions.workflows)) or "none"
        raise CommandRefused(
            f"run {history.run_id} is of workflow {name!r}, which these modules do not have (they have {known}): "
            "name the module that has it with --module"
        )
    chain = Interceptors.of(definitions.interceptors)
    environment = Environment(
        namespace=namespace,
        converter=definitions.data_converter,
        interceptors=chain.classes,
        extern_functions=chain.extern_functions,
    )
    session = Session(definition, history.run_id, _read(history, definitions.data_converter, namespace), environment)
    try:
        position = session.end if at is None else session.position_of(at)
    except LookupError as error:
        raise CommandRefused(str(error)) from None
    WorkflowDebugger(session).converse(position)


def _read(history: WorkflowHistory, converter: DataConverter, namespace: str) -> Sequence[HistoryEvent]:
    """The events as the code reads them."""
    if converter.is_plain:
        return history.events
    try:
        return asyncio.run(read_history(history.events, converter, namespace, HeaderCodecBehavior.NO_CODEC))
    except CodecError as error:
        raise CommandRefused(f"run {history.run_id} can't be read with the module's data_converter: {error}") from None


class WorkflowDebugger(pdb.Pdb):
    """Pdb on a `Session`.

    Between workflow tasks the code is suspended, and the prompt shows the line where it waits. A movement delivers the
    events of workflow tasks until ``_goal``; the code that runs meanwhile is traced, and stops as in any pdb.
    A jump replays without stopping.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(nosigint=True)
        self.reset()
        self._session = session
        self._home = os.path.dirname(session.file) + os.sep
        self._shown: list[Place] = []
        self._goal = 0
        self._moving = False
        self._stepwise = False
        self._jump: int | None = None
        self._leaving: FrameType | None = None

    def converse(self, position: int) -> None:
        """Begin there, and go where the person says until they have enough."""
        self._jump = position
        hook, sys.breakpointhook = sys.breakpointhook, self._breakpoint
        try:
            self._converse()
        finally:
            sys.breakpointhook = hook
            self._session.abandon()

    def _converse(self) -> None:
        while True:
            if self._jump is not None:
                self._go_to(self._jump)
            elif self.quitting:
                return
            self._jump, self._goal, self.quitting = None, self._session.position, False
            self._talk()
            if self._jump is None and not self.quitting:
                self._move()

    # -- the commands

    def do_event(self, arg: str) -> None:
        """ev | event

        Show the events that this workflow task read, and what it asked for.
        """
        self._tell(positions.task(self._session, self._here))

    do_ev = do_event

    def do_history(self, arg: str) -> None:
        """hi | history

        Show all events of the run, with an arrow at those that this workflow task read.
        """
        self._tell(positions.history(self._session, self._here))

    do_hi = do_history

    def do_forward(self, arg: str) -> bool | None:
        """fw | forward [N]

        Go on to the next workflow task, or by N; amid a task, to its end. Stops at breakpoints.
        """
        count = self._count(arg, "forward")
        if count is None:
            return None
        if not self._moving and self._session.position == self._session.last:
            self.message("this is the end of the history")
            return None
        self._goal = min(self._session.position + count, self._session.last)
        self._stepwise = False
        if self._moving:
            self.set_continue()
        return True

    do_fw = do_forward

    def do_back(self, arg: str) -> bool | None:
        """bk | back [N]

        Go back to the previous workflow task, or by N, by a replay from the beginning. Stops nowhere else.
        """
        count = self._count(arg, "back")
        if count is None:
            return None
        if self._here == 0:
            self.message("this is the beginning of the history")
            return None
        return self._jump_to(max(self._here - count, 0))

    do_bk = do_back

    def do_at(self, arg: str) -> bool | None:
        """at EVENT

        Go to the workflow task that read this event, forward or back. Stops nowhere else.
        """
        try:
            return self._jump_to(self._session.position_of(int(arg)))
        except ValueError:
            self.error("at takes the number of an event; `history` shows them")
        except LookupError as error:
            self.error(str(error))
        return None

    def do_tasks(self, arg: str) -> None:
        """tasks

        Show the workflow's asyncio tasks: where each one is, and what it waits for.
        """
        self._tell(positions.tasks(self._session.task_views(), self.curframe))

    def do_task(self, arg: str) -> None:
        """task N

        Look at a task by its number in `tasks`: `where`, `up`, `down` and variables are that one's.
        """
        views = self._session.task_views()
        if not (arg.isdecimal() and 1 <= int(arg) <= len(views)):
            self.error("task takes the number of a task; `tasks` shows them")
            return
        self._shown = views[int(arg) - 1].places
        self.setup(None, None)
        self.print_stack_entry(self.stack[self.curindex])

    def do_restart(self, arg: str) -> bool | None:
        """run | restart

        Go to the beginning, before the first workflow task.
        """
        return self._jump_to(0)

    do_run = do_restart

    # -- moving

    @property
    def _here(self) -> int:
        """The workflow task that is looked at: the last one read, or the one that is being read."""
        return self._session.position + self._moving

    def _talk(self) -> None:
        self._tell(positions.headline(self._session))
        self._shown = self._session.places()
        self.interaction(None, None)

    def _move(self) -> None:
        session = self._session
        if session.position == session.last:
            self.message("this is the end of the history")
            return
        if session.spoilt:
            self._go_to(session.position)
        self.botframe = sys._getframe()  # pyright: ignore[reportPrivateUsage]
        if not self._stepwise:
            super().set_continue()
        misfit: NondeterminismError | None = None
        self._moving = True
        try:
            if self._stepwise or self.breaks:
                sys.settrace(self.trace_dispatch)
            while session.position < self._goal and not self.quitting:
                session.forward()
        except NondeterminismError as error:
            misfit = error
        finally:
            sys.settrace(None)
            self._moving = False
        if misfit is not None and not self.quitting:
            self._tell_misfit(misfit)

    def _breakpoint(self, *_args: Any, **_kwargs: Any) -> None:
        """`breakpoint()` in the workflow's code: stops on its next line, unless it is only replayed."""
        if not self._moving:
            return
        self.set_step()
        frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame is not None and frame is not self.botframe:
            frame.f_trace = self.trace_dispatch
            frame = frame.f_back
        sys.settrace(self.trace_dispatch)

    def _go_to(self, position: int) -> None:
        try:
            self._session.go_to(position)
        except NondeterminismError as misfit:
            self._tell_misfit(misfit)

    def _tell_misfit(self, misfit: NondeterminismError) -> None:
        """The code's own exception is looked at where it was raised; a difference, from the last task that fits."""
        self._tell([str(misfit)])
        if misfit.__cause__ is None:
            self._go_to(self._session.position)

    def _jump_to(self, position: int) -> bool:
        self._jump = position
        if self._moving:
            self.set_quit()
        return True

    def _count(self, arg: str, command: str) -> int | None:
        if not arg:
            return 1
        if arg.isdecimal() and int(arg):
            return int(arg)
        self.error(f"{command} takes a number of workflow tasks, 1 or more")
        return None

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.message(line)

    # -- what pdb asks of its subclasses, or has for them to change

    def cmdloop(self, intro: Any | None = None) -> None:
        """Each prompt, amid a task or between two."""
        self._leaving = None
        if self._moving and self._stepwise:
            self._goal = self._session.position + 1
        with self._session.looking(stepped=self._moving):
            super().cmdloop(intro)

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[Place], int]:
        """The user's frames only, unless it is one of ours that is looked at."""
        if f is None:
            return list(self._shown), len(self._shown) - 1
        stack, index = super().get_stack(f, t)
        current = stack[index]
        if not _is_users(current[0]):
            return stack, index
        stack = [place for place in stack if _is_users(place[0])]
        return stack, stack.index(current)

    def set_step(self) -> None:
        self._step()
        super().set_step()

    def set_next(self, frame: FrameType) -> None:
        self._step()
        super().set_next(frame)

    def set_until(self, frame: FrameType, lineno: int | None = None) -> None:
        self._step()
        super().set_until(frame, lineno)

    def set_return(self, frame: FrameType) -> None:
        self._step()
        if _pauses(frame):
            self._leaving = frame
        super().set_return(frame)

    def set_continue(self) -> None:
        self._stepwise = False
        if self._moving:
            super().set_continue()
        else:
            self._goal = self._session.last

    def set_quit(self) -> None:
        if self._moving:
            self._session.abandon()
        super().set_quit()

    def _step(self) -> None:
        """From a waiting line it may take several tasks to come to the next line; amid a task, that task ends it."""
        self._stepwise = True
        self._goal = self._session.position + 1 if self._moving else self._session.last

    def stop_here(self, frame: FrameType) -> bool:
        """Steps lead through the workflow's code and what that calls, not through what the engine calls for itself."""
        return super().stop_here(frame) and self._is_called_by_users(frame)

    def _is_called_by_users(self, frame: FrameType | None) -> bool:
        while frame is not None and _is_users(frame):
            path = frame.f_code.co_filename
            if path.startswith(self._home) or not path.startswith(_LIBRARIES):
                return True
            frame = frame.f_back
        return False

    def break_here(self, frame: FrameType) -> bool:
        """Bdb takes the line where it first meets a function for its first one, and may meet it half done."""
        code = frame.f_code
        for point in Breakpoint.bplist.get((self.canonic(code.co_filename), code.co_firstlineno), ()):
            point.func_first_executable_line = _first_line(code)
        return super().break_here(frame)

    def break_anywhere(self, frame: FrameType) -> bool:
        """Whether to trace this function."""
        return frame is self._leaving or super().break_anywhere(frame)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """A coroutine that goes on is no call."""
        if not _pauses(frame):
            super().user_call(frame, argument_list)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """A coroutine that waits has not returned."""
        if not _pauses(frame) or _returns(frame):
            super().user_return(frame, return_value)

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """Bdb overlooks the return of a coroutine: `return` stops there; after it, `next` goes on in the caller."""
        if not (_pauses(frame) and _returns(frame)):
            return super().dispatch_return(frame, arg)
        if frame.f_back is not None:
            frame.f_back.f_trace = self.trace_dispatch
        if frame is self._leaving or (self.stopframe is None and self.stop_here(frame)):
            self.user_return(frame, arg)
            if self.quitting:
                raise BdbQuit
        if frame is self.stopframe and self.stoplineno != -1:
            self.set_step()
        return self.trace_dispatch

    def dispatch_exception(self, frame: FrameType, arg: Any) -> Any:
        """What is raised amid our own code is no news, nor is the exception without a traceback that ends an await."""
        if not _is_users(frame) or (arg[0] is StopIteration and arg[2] is None):
            return self.trace_dispatch
        return super().dispatch_exception(frame, arg)


def _is_users(frame: FrameType) -> bool:
    return is_user_code(frame.f_code.co_filename)


def _first_line(code: CodeType) -> int:
    lines = (line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno)
    return next(lines, code.co_firstlineno)


def _pauses(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & PAUSES)


def _returns(frame: FrameType) -> bool:
    """Whether a frame that is left is left for good: a coroutine that waits is left by another instruction."""
    return opname[frame.f_code.co_code[frame.f_lasti]] in RETURNS
