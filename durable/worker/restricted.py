"""The names that workflow code is refused, how each is noticed, and what to use instead."""

from __future__ import annotations

import _thread
import pkgutil
from contextlib import suppress
from datetime import date, datetime
from typing import Any

from durable.workflow.errors import NondeterminismError

ACTIVITY = "do it in an activity"
_PROCESS = "start processes in an activity"
_NETWORK = "use the network in an activity"
_FILES = "use files in an activity"
_CLOCK = "use workflow.now() or workflow.time()"
_CHANCE = "use workflow.random()"
_UUID = "use workflow.uuid4(), or workflow.random()"
_SLEEP = "await asyncio.sleep() or workflow.sleep()"
_THREAD = "use asyncio tasks, or threads in an activity"


class RestrictedWorkflowAccessError(NondeterminismError):
    """Workflow code did what it may not do. ``qualified_name`` is a key of `REFUSED`; the message tells where."""

    def __init__(self, qualified_name: str, *, override_message: str | None = None) -> None:
        super().__init__(override_message or self.default_message(qualified_name))
        self.qualified_name = qualified_name

    @staticmethod
    def default_message(qualified_name: str) -> str:
        """What is said of a forbidden name."""
        return (
            f"{qualified_name.removeprefix('__builtins__.')} can't be used in workflow code, because its result may "
            f"differ when history is replayed: {REFUSED.get(qualified_name, ACTIVITY)}"
        )


def _of(module: str, names: str, instead: str) -> dict[str, str]:
    return {f"{module}.{name}": instead for name in names.split()}


_AUDITED = {
    **_of(
        "os", "chdir chmod chown link listdir lockf mkdir remove rename rmdir scandir symlink truncate utime", _FILES
    ),
    **_of("os", "getxattr listxattr removexattr setxattr", _FILES),
    **_of("os", "exec fork forkpty kill killpg posix_spawn spawn startfile system", _PROCESS),
    **_of("os", "putenv unsetenv", ACTIVITY),
    **_of("shutil", "chown copyfile copymode copystat copytree make_archive move rmtree unpack_archive", _FILES),
    **_of("tempfile", "mkdtemp mkstemp", _FILES),
    **_of("fcntl", "fcntl flock ioctl lockf", _FILES),
    **_of("socket", "bind connect getaddrinfo gethostbyaddr gethostbyname gethostname getnameinfo", _NETWORK),
    **_of("socket", "getservbyname getservbyport sendmsg sendto sethostname", _NETWORK),
    **_of("subprocess", "Popen", _PROCESS),
    **_of("pty", "spawn", _PROCESS),
    **_of("sqlite3", "connect", "use databases in an activity"),
    **_of("urllib", "Request", _NETWORK),
    **_of("http.client", "connect send", _NETWORK),
    **_of("ftplib", "connect sendcmd", _NETWORK),
    **_of("imaplib", "open send", _NETWORK),
    **_of("poplib", "connect putline", _NETWORK),
    **_of("smtplib", "connect send", _NETWORK),
    **_of("webbrowser", "open", ACTIVITY),
    **_of("ctypes", "dlopen", ACTIVITY),
    **_of("signal", "pthread_kill", ACTIVITY),
    **_of("syslog", "openlog syslog", "use workflow.logger"),
}

_UNAUDITED = {
    **_of("time", "sleep", _SLEEP),
    **_of("time", "clock_gettime monotonic monotonic_ns perf_counter perf_counter_ns time time_ns", _CLOCK),
    # Not gmtime and localtime, which may be given a time, and what they are given can't be seen: `durable check` can.
    **_of("time", "clock_gettime_ns process_time process_time_ns thread_time thread_time_ns", _CLOCK),
    **_of("datetime.datetime", "now today utcnow", _CLOCK),
    **_of("datetime.date", "today", _CLOCK),
    **_of("random", "getrandbits random", _CHANCE),
    **_of("os", "urandom", _UUID),
    **_of("threading", "Thread.start", _THREAD),
}

REFUSED: dict[str, str] = {
    "__builtins__.open": _FILES,
    "__builtins__.input": "send the workflow a signal",
    "os.open": _FILES,
    "socket.socket": _NETWORK,
    "mmap.mmap": _FILES,
    **_AUDITED,
    **_UNAUDITED,
}
"""By qualified name, what to do instead."""

AUDIT_EVENTS: dict[str, str] = {
    **{name: name for name in _AUDITED},
    "open": "__builtins__.open",
    "builtins.input": "__builtins__.input",
    "socket.__new__": "socket.socket",
    "mmap.__new__": "mmap.mmap",
    # Python 3.11 does not tell of these; there the profiled steps of `guard` notice them.
    "time.sleep": "time.sleep",
    "_thread.start_new_thread": "threading.Thread.start",
    "_thread.start_joinable_thread": "threading.Thread.start",
}
"""What Python says when it is about to do something, and the name of that."""

NOTHING: frozenset[str] = frozenset()


def functions() -> dict[Any, str]:
    """The functions that make no audit event, as far as this Python has them, and their names.

    They are those of C in which all reading of clocks and drawing of chance ends. Of `random` they belong to the
    generator that a whole program shares; a program's own ``random.Random(seed)`` has others.
    """
    found: dict[Any, str] = {_thread.start_new_thread: "threading.Thread.start"}
    for name in _UNAUDITED:
        with suppress(AttributeError):
            found[pkgutil.resolve_name(name)] = name
    return found


def of_subclass(function: Any) -> str | None:
    """The name of a function of these that is called of a subclass: ``Mine.now``, as ``datetime.now``."""
    owner: Any = getattr(function, "__self__", None)
    if not issubclass(type(owner), type):
        return None
    names = (f"datetime.{each.__name__}.{function.__name__}" for each in (datetime, date) if issubclass(owner, each))
    return next((name for name in names if name in REFUSED), None)
