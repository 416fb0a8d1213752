"""Pure: an asyncio event loop without I/O or clock, which runs the same callbacks in the same order in every process.

A run has one. Its owner sets the time, keeps the timers and steps it; nothing here waits, reads a clock or starts a
thread.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextlib
import contextvars
import ctypes
import gc
import math
import sys
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import MethodType
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

# How often a coroutine may answer its eviction by awaiting something else, before it is given up.
THROWS_MAX = 100

# anyio knows its own cancellations by this beginning of their message (``is_anyio_cancellation``), and so do we.
_ANYIO_CANCELLATION = "Cancelled via cancel scope "

# The thread in which the cyclic garbage collector is at work. It finalizes things at moments that no replay repeats, so
# no workflow code may run then. (CPython runs one collection at a time.)
_collecting: int | None = None


def _note_collection(phase: str, _info: dict[str, int]) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else None


gc.callbacks.append(_note_collection)


def is_collecting() -> bool:
    """Is this thread in the midst of a garbage collection, which may finalize what is anybody's?"""
    return _collecting == threading.get_ident()


class WorkflowBeingEvicted(BaseException):
    """Thrown into workflow code whose run leaves a worker's memory: ``finally`` blocks run, what they do is ignored."""


class WorkflowTimerHandle(asyncio.TimerHandle):
    """A durable timer's callback. Compared by identity (asyncio's are equal when they look alike), so fit to be a key.

    ``timer_id`` is the owner's to use; a fresh handle has "".
    """

    __slots__ = ("timer_id",)

    timer_id: str

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.timer_id = ""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class LoopOwner(Protocol):
    """Who runs a run: keeps its durable timers, hears its complaints."""

    def start_timer(self, delay_us: int, handle: WorkflowTimerHandle) -> None:
        """Have ``loop.fire(handle)`` called ``delay_us`` (0 or more) from now; raises to refuse."""
        ...

    def cancel_timer(self, handle: WorkflowTimerHandle) -> None:
        """Forget a timer that was started and has not fired."""
        ...

    def report(self, context: dict[str, Any]) -> None:
        """Log what concerns nobody's control flow (asyncio's context dict: message, exception, task …).

        "Task exception was never retrieved" is the common one. It can come from any thread at any moment, also from the
        garbage collector, so it must not touch the run.
        """
        ...


class WorkflowFuture(asyncio.Future[T]):
    """A future whose hash, and so its place in a set, is the same in every process that replays its run."""

    __slots__ = ("_hash",)

    def __init__(self, *, loop: WorkflowLoop) -> None:
        super().__init__(loop=loop)
        self._hash = loop.next_future_hash()

    def __hash__(self) -> int:
        return self._hash


class WorkflowTask(asyncio.Task[T]):
    """A task whose hash and name are the same in every process that replays its run. Its loop holds it until done.

    To be subclassed (activity and child handles are tasks): the constructor does all that the loop needs.
    """

    __slots__ = ("_hash", "run_context")

    run_context: contextvars.Context

    def __init__(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        loop: WorkflowLoop,
        name: str | None = None,
        context: contextvars.Context | None = None,
        eager_start: bool | None = None,
    ) -> None:
        number = loop.next_task_number()
        self._hash = loop.seed + number  # set first: Task.__init__ puts the task in asyncio's WeakSet
        self.run_context = contextvars.copy_context() if context is None else context
        if name is None:
            name = f"Task-{number}"
        if not eager_start:
            super().__init__(coro, loop=loop, name=name, context=self.run_context)
        elif sys.version_info >= (3, 12):
            super().__init__(coro, loop=loop, name=name, context=self.run_context, eager_start=True)
        else:
            raise NotImplementedError("eager_start needs Python 3.12; start the task with create_task(coro) instead")
        loop.keep(self)

    def __hash__(self) -> int:
        return self._hash

    def cancel(self, msg: Any | None = None) -> bool:
        """As asyncio's. Of the tasks that anyio cancels in one go, the one created first wakes first."""
        loop = cast("WorkflowLoop", self.get_loop())
        loop.before_cancel()
        if type(msg) is str and msg.startswith(_ANYIO_CANCELLATION):
            return loop.cancel_in_order(self._hash, lambda: super(WorkflowTask, self).cancel(msg))
        return super().cancel(msg)


def _is_anyio_retry(handle: asyncio.Handle) -> bool:
    """Whether this is a cancelled anyio scope that looks again whether somebody in it waits.

    anyio 4 does so by ``call_soon(self._deliver_cancellation, self)`` for as long as the scope has an unfinished task.
    """
    callback: object = handle._callback  # type: ignore[attr-defined]
    if type(callback) is not MethodType:
        return False
    function = callback.__func__
    return (
        getattr(function, "__name__", "") == "_deliver_cancellation"
        and str(getattr(function, "__module__", "")).startswith("anyio.")
        and handle._args == (callback.__self__,)
    )


def _only_anyio_retries(ready: deque[asyncio.Handle]) -> bool:
    return bool(ready) and _is_anyio_retry(ready[0]) and all(_is_anyio_retry(handle) for handle in ready)


def _refused(what: str, instead: str) -> Any:
    """A method that workflow code cannot have, because its outcome would differ on replay."""

    def refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
        raise NotImplementedError(f"workflow code cannot {what}: a replay could not repeat it; {instead}")

    return refuse


_IO = _refused("do I/O", "do it in an activity")
_THREADS = _refused("use threads", "do it in an activity")
_LIFE = _refused("start, stop or close its event loop", "return from the workflow to end it")


class WorkflowLoop(asyncio.AbstractEventLoop):
    """One run's event loop: a FIFO queue, the owner's time and timers.

    ``seed`` (48 bits, from the run) sets the hashes of tasks and futures, so that a set of them iterates alike in every
    process; different runs have different seeds, because asyncio keeps all runs' tasks in one WeakSet.
    Not covered, because they are hashed by address: coroutines given to asyncio.as_completed (tasks are fine), and
    gather's own future in a set. workflow.as_completed and workflow.wait keep the order of a list.
    ``before_task`` is called before each new task, ``before_cancel`` before a task is cancelled; they raise to refuse
    it (read-only contexts).

    Exceptions: one that escapes a callback is put in ``failures`` and halts the loop for good: the owner fails the
    workflow task and closes the loop. A handler set with set_exception_handler takes its place. A task's exception that
    nobody retrieves fails nothing; it is reported to the owner, and never after eviction began. SystemExit and
    KeyboardInterrupt leave ``run_until_dry`` as they would leave asyncio.run.

    Async generators: one that workflow code drops unfinished while it runs is closed by a new task of the run, as on
    asyncio. One that the garbage collector finds is dropped without running its code: no replay repeats the moment.
    """

    def __init__(
        self,
        owner: LoopOwner,
        *,
        seed: int,
        time_us: int = 0,
        before_task: Callable[[], None] | None = None,
        before_cancel: Callable[[], None] = lambda: None,
    ) -> None:
        self.seed = seed & 0xFFFF_FFFF_FFFF
        self.failures: list[BaseException] = []
        self._owner = owner
        self._before_task = before_task
        self.before_cancel = before_cancel
        self._time = time_us / 1e6
        self._ready: deque[asyncio.Handle] = deque()
        self._thread: int | None = None  # which thread steps this loop now
        self._halted = False
        self._evicted = False
        self._tasks_made = 0
        self._futures_made = 0
        self._tasks: list[WorkflowTask[Any]] = []  # in order of creation; finished ones until the next sweep
        self._sweep_at = 8
        self._exception_handler: ExceptionHandler | None = None
        # The handles that anyio's cancelling put at the end of the queue: their keys, the last one, the queue's length.
        self._cancelled: list[int] = []
        self._cancelled_last: asyncio.Handle | None = None
        self._cancelled_length = 0
        self._cancelling = False

    # Stepping: the owner's side.

    def set_time_us(self, now_us: int) -> None:
        """Set workflow time, in microseconds since the epoch. An earlier time than the present one changes nothing."""
        self._time = max(self._time, now_us / 1e6)

    def fire(self, handle: asyncio.TimerHandle) -> None:
        """A timer fell due: its callback runs at the next step, unless it was cancelled.

        Whoever asked for a time finds it reached: a delay is rounded, and anyio re-arms a deadline that is an ulp away.
        """
        handle._scheduled = False  # type: ignore[attr-defined]
        if not handle.cancelled():
            self._time = max(self._time, handle.when())
            self._ready.append(handle)

    def run_until_dry(self, check_conditions: Callable[[], object] | None = None) -> None:
        """Run until nothing is ready; then ``check_conditions``, and on, if that made something ready.

        Nothing ready, no check. It may be called from a plain thread, or from a plain callback (not a task) of another
        running loop, which finds everything as it was.
        """
        outer = self._enter()
        try:
            while self._drain() and check_conditions is not None:
                kept = len(self._ready)
                check_conditions()
                if len(self._ready) == kept:
                    return
        finally:
            self._leave(*outer)

    @contextlib.contextmanager
    def entered(self) -> Generator[None, None, None]:
        """Be the running loop of this thread: for code of the run that needs one and is not a callback (queries)."""
        outer = self._enter()
        try:
            yield
        finally:
            self._leave(*outer)

    def _enter(self) -> tuple[asyncio.AbstractEventLoop | None, Any]:
        """Become the running loop of this thread; what was there before."""
        if self._thread is not None:
            raise RuntimeError("this workflow's event loop is already being stepped; step it from one place at a time")
        outer = (asyncio._get_running_loop(), sys.get_asyncgen_hooks())
        self._thread = threading.get_ident()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(None, self._generator_dropped)
        return outer

    def _leave(self, loop: asyncio.AbstractEventLoop | None, hooks: Any) -> None:
        try:
            if self._evicted:  # in the midst of this step, or entered for nothing else
                self._close_tasks()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(loop)
            self._thread = None

    def _drain(self) -> bool:
        """Run all that is ready; whether there was anything. A turn in which only anyio's retries ran is the last.

        Such a turn changed nothing (a retry that cancels somebody wakes a task), and neither would the next. They stay
        ready: the next step may give them something to do.
        """
        ready = self._ready
        if not ready:
            return False
        while ready and not self._halted:
            retries = _only_anyio_retries(ready)
            turn = len(ready)
            while turn and not self._halted:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
                turn -= 1
            if retries and _only_anyio_retries(ready):
                break
        return not self._halted

    # Eviction.

    def close_quietly(self) -> None:
        """Evict: end every coroutine of the run in order of creation, run nothing, say nothing. Repeating it is fine.

        From here on all that is scheduled is swallowed. Each unfinished coroutine gets WorkflowBeingEvicted thrown in,
        again whenever it awaits something in answer; one that answers THROWS_MAX times is reported and left as it is.
        A loop that another thread is stepping (a stuck run, given up) ends its coroutines when that step ends.
        """
        if self._evicted:
            return
        self._evicted = True
        self._halted = True
        self._ready = deque(maxlen=0)
        if self._thread is not None:
            return
        if self.unfinished_tasks():
            self._leave(*self._enter())  # which closes the tasks
        self._tasks.clear()

    def _close_tasks(self) -> None:
        # A task made by a ``finally`` block joins the list while it is walked; it never started, so it ends at once.
        for task in self._tasks:
            if not task.done():
                self._close_task(task)
        self._tasks.clear()

    def _close_task(self, task: WorkflowTask[Any]) -> None:
        coroutine: Any = task.get_coro()
        if coroutine is None or getattr(coroutine, "cr_running", False):
            return
        # Code in a ``finally`` block asks for the current task: timeouts, task groups and anyio's scopes all do.
        asyncio.tasks._enter_task(self, task)
        try:
            task.run_context.run(self._throw_until_ended, coroutine)
        finally:
            asyncio.tasks._leave_task(self, task)

    def _throw_until_ended(self, coroutine: Any) -> None:
        try:
            for _ in range(THROWS_MAX):
                coroutine.throw(WorkflowBeingEvicted("this run is being evicted from the worker's memory"))
        except BaseException:  # ended, by whatever
            return
        # Freed, it would run once more, for ever if its loop is tight, and be it while the interpreter goes down.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
        name = getattr(coroutine, "__qualname__", "a coroutine")
        self._owner.report(
            {"message": f"{name} swallows BaseException in a loop, so it could not be evicted; its memory is lost"}
        )

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An unfinished async generator lost its last reference (sys.set_asyncgen_hooks)."""
        if not self._in_step():
            return
        if self._evicted:
            self._throw_until_ended(generator.aclose())
        else:
            self.create_task(generator.aclose())

    def _in_step(self) -> bool:
        """Whether what happens now happens again on replay: this thread steps the run, and collects no garbage."""
        return self._thread == threading.get_ident() != _collecting

    # Callbacks and timers.

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` after all that is ready already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> WorkflowTimerHandle:
        """A durable timer of ``delay`` seconds, 0 included; an infinite one never fires and is none.

        Raises RuntimeError if ``delay`` is negative, ValueError if it is no number.
        """
        return self._start_timer(delay, self._time + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> WorkflowTimerHandle:
        """A durable timer that falls due at ``when`` in ``time()``'s seconds; the delay is rounded to milliseconds."""
        return self._start_timer(round(when - self._time, 3), when, callback, args, context)

    def _start_timer(
        self,
        delay: float,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> WorkflowTimerHandle:
        if delay < 0:
            raise RuntimeError(f"a timer cannot start with a negative delay ({delay} s); use 0 or more")
        if math.isnan(delay):
            raise ValueError("a timer's delay must be a number of seconds, not NaN")
        handle = WorkflowTimerHandle(when, callback, args, self, context)
        if not self._evicted and delay != math.inf:
            self._owner.start_timer(round(delay * 1e6), handle)
            handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's TimerHandle.cancel calls this, also for a timer that fired."""
        if handle._scheduled and not self._evicted:  # type: ignore[attr-defined]
            self._owner.cancel_timer(cast(WorkflowTimerHandle, handle))  # raises to refuse
            handle._scheduled = False  # type: ignore[attr-defined]

    def cancel_in_order(self, key: int, cancel: Callable[[], bool]) -> bool:
        """Do an anyio cancellation of the task with this key; keep what it woke in the order of keys.

        anyio walks a scope's nested scopes as a set of objects hashed by address. Neighbours in the ready queue that
        such a walk put there are therefore sorted by their tasks' age; the workflow's own calls of cancel() are not.
        """
        if self._cancelling:  # a cancelled task that awaits another task passes it on
            return cancel()
        ready = self._ready
        if len(ready) != self._cancelled_length or not ready or ready[-1] is not self._cancelled_last:
            self._cancelled.clear()
        before = len(ready)
        self._cancelling = True
        try:
            done = cancel()
        finally:
            self._cancelling = False
        woken = [ready.pop() for _ in range(len(ready) - before)]
        place = bisect_right(self._cancelled, key)
        position = len(ready) - len(self._cancelled) + place
        for handle in woken:  # the last woken first, each before the one put there already
            ready.insert(position, handle)
            self._cancelled.insert(place, key)
        self._cancelled_last = ready[-1] if ready else None
        self._cancelled_length = len(ready)
        return done

    # Tasks and futures.

    def create_future(self) -> WorkflowFuture[Any]:
        """A future of this run."""
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T] | Awaitable[T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        eager_start: bool | None = None,
    ) -> WorkflowTask[T]:
        """A task of this run, called "Task-1", "Task-2" … unless named."""
        if self._before_task is not None and not self._evicted:
            self._before_task()
        return WorkflowTask(
            cast("Coroutine[Any, Any, T]", coro),
            loop=self,
            name=None if name is None else str(name),
            context=context,
            eager_start=eager_start,
        )

    def next_task_number(self) -> int:
        """1, 2, 3 … for each task of this run."""
        self._tasks_made += 1
        return self._tasks_made

    def next_future_hash(self) -> int:
        """Counted down from the seed, so that the number of asyncio's futures never moves a task's place in a set."""
        self._futures_made += 1
        return self.seed - self._futures_made

    def keep(self, task: WorkflowTask[Any]) -> None:
        """Hold a task until it is done: asyncio's own reference is weak, and a collected task would never go on."""
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) >= self._sweep_at and not self._evicted:
            self._tasks = [kept for kept in tasks if not kept.done()]
            self._sweep_at = 2 * len(self._tasks) + 8

    def unfinished_tasks(self) -> list[WorkflowTask[Any]]:
        """The tasks of this run that are not done, in order of creation."""
        return [task for task in self._tasks if not task.done()]

    def get_task_factory(self) -> None:
        """None: a run's tasks are WorkflowTasks."""

    set_task_factory = _refused("replace its task factory", "use create_task")

    # Exceptions.

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Hand asyncio's complaint to the handler that the workflow set, else to the default one.

        None after eviction began: that is what keeps "Task was destroyed but it is pending!" quiet.
        """
        if self._evicted:
            return
        if self._exception_handler is None or not self._in_step():
            self.default_exception_handler(context)
            return
        try:
            self._exception_handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail(error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """What escaped a callback halts the loop; all else is reported."""
        error = context.get("exception")
        if "handle" in context and isinstance(error, BaseException):
            self._fail(error)
        else:
            self._owner.report(context)

    def _fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self._halted = True

    def get_exception_handler(self) -> ExceptionHandler | None:
        """The handler that the workflow set, or None."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Have ``handler(loop, context)`` called in place of the default; None restores it."""
        self._exception_handler = handler

    # What asyncio asks any loop.

    def time(self) -> float:
        """Workflow time: seconds since the epoch, the same on replay."""
        return self._time

    def is_running(self) -> bool:
        """True while stepped."""
        return self._thread is not None

    def is_closed(self) -> bool:
        """True once evicted."""
        return self._evicted

    def get_debug(self) -> bool:
        """False: asyncio's debug mode times callbacks with a clock."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Without effect."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: the loop holds no generators."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""

    run_forever = run_until_complete = stop = close = _LIFE
    call_soon_threadsafe = run_in_executor = set_default_executor = _THREADS
    getaddrinfo = getnameinfo = create_connection = create_server = _IO
    create_unix_connection = create_unix_server = create_datagram_endpoint = connect_accepted_socket = _IO
    start_tls = sendfile = sock_sendfile = connect_read_pipe = connect_write_pipe = _IO
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _IO
    sock_sendall = sock_sendto = sock_connect = sock_accept = _IO
    add_reader = remove_reader = add_writer = remove_writer = _IO
    subprocess_shell = subprocess_exec = _refused("start processes", "do it in an activity")
    add_signal_handler = remove_signal_handler = _refused("handle the process's signals", "use a workflow signal")
