"""Pure: the rules of `durable check`, and the names that each forbids in workflow code."""

from __future__ import annotations

import ast

from msgspec import Struct


class Rule(Struct, frozen=True):
    """What is looked for: ``what`` is the sentence about a finding, ``instead`` what to do."""

    id: str
    name: str
    what: str
    instead: str


_ALL = [
    Rule("DUR101", "clock", "reads the clock", "use workflow.now() or workflow.time()"),
    Rule("DUR102", "sleep", "blocks the workflow thread", "await asyncio.sleep() or workflow.sleep()"),
    Rule("DUR103", "chance", "draws chance", "use workflow.random()"),
    Rule("DUR104", "uuid", "makes an id that differs on replay", "use workflow.uuid4()"),
    Rule("DUR105", "files", "uses the file system", "do it in an activity"),
    Rule("DUR106", "network", "uses the network", "do it in an activity"),
    Rule("DUR107", "database", "uses a database", "do it in an activity"),
    Rule("DUR108", "process", "starts or signals processes", "do it in an activity"),
    Rule("DUR109", "thread", "uses threads or processes", "use asyncio tasks, or do it in an activity"),
    Rule("DUR110", "loop", "needs an event loop with I/O", "await it in the workflow's own loop, or in an activity"),
    Rule("DUR111", "environment", "reads what differs between processes", "pass it as an argument"),
    Rule(
        "DUR112", "lock", "blocks the workflow thread", "use asyncio.Lock, asyncio.Event or workflow.wait_condition()"
    ),
    Rule("DUR113", "input", "waits for a person at a terminal", "send the workflow a signal or an update"),
    Rule("DUR201", "set-order", "depends on the order of a set, which differs between processes", "use sorted(…)"),
    Rule("DUR202", "identity", "differs between processes", "compare values, or hash them with hashlib"),
    Rule("DUR203", "global", "changes what all runs of the process share", "keep it in the run: a local or self"),
    Rule("DUR204", "class-attribute", "is shared by all runs of the process", "make it in __init__"),
    Rule("DUR205", "default", "is evaluated once, when the module is imported", "evaluate it in the function"),
    Rule(
        "DUR206", "as-completed", "starts coroutines in an order that differs on replay", "use workflow.as_completed()"
    ),
    Rule("DUR301", "swallow", "swallows cancellation and eviction", "catch Exception, or raise it again"),
    Rule("DUR302", "busy-loop", "never yields, so nothing can end it", "await workflow.wait_condition() or a sleep"),
    Rule("DUR303", "not-awaited", "is never awaited, so it never runs", "await it, or make it a task"),
]
RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""By id, in order."""


def _of(rule: str, module: str, names: str) -> dict[str, str]:
    return {f"{module}.{name}": rule for name in names.split()}


NAMES: dict[str, str] = {
    **_of("DUR101", "time", "asctime clock_gettime clock_gettime_ns ctime gmtime localtime monotonic monotonic_ns"),
    **_of("DUR101", "time", "perf_counter perf_counter_ns process_time process_time_ns strftime thread_time"),
    **_of("DUR101", "time", "thread_time_ns time time_ns"),
    **_of("DUR101", "datetime.datetime", "now today utcnow"),
    **_of("DUR101", "datetime.date", "today"),
    **_of("DUR101", "pendulum", "now today tomorrow yesterday"),
    **_of("DUR101", "arrow", "now utcnow"),
    **_of("DUR101", "django.utils.timezone", "now localdate localtime"),
    **_of("DUR102", "time", "sleep"),
    **_of("DUR103", "random", "betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits"),
    **_of(
        "DUR103", "random", "lognormvariate normalvariate paretovariate randbytes randint random randrange sample seed"
    ),
    **_of("DUR103", "random", "shuffle triangular uniform vonmisesvariate weibullvariate SystemRandom"),
    **_of("DUR103", "secrets", "choice randbelow randbits token_bytes token_hex token_urlsafe SystemRandom"),
    **_of("DUR103", "os", "urandom getrandom"),
    **_of("DUR104", "uuid", "getnode uuid1 uuid4 uuid6 uuid7"),
    **_of("DUR105", "builtins", "open"),
    **_of("DUR105", "io", "open open_code FileIO"),
    **_of("DUR105", "codecs", "open"),
    **_of("DUR105", "os", "access chdir chmod chown fdopen getcwd link listdir lstat makedirs mkdir open pipe read"),
    **_of(
        "DUR105", "os", "readlink remove removedirs rename renames replace rmdir scandir stat symlink truncate unlink"
    ),
    **_of("DUR105", "os", "utime walk write"),
    **_of(
        "DUR105", "os.path", "abspath exists expanduser getatime getctime getmtime getsize isdir isfile islink lexists"
    ),
    **_of("DUR105", "os.path", "realpath samefile"),
    **_of("DUR105", "pathlib.Path", "absolute chmod cwd exists expanduser glob group home is_dir is_file is_symlink"),
    **_of(
        "DUR105", "pathlib.Path", "iterdir lstat mkdir open owner read_bytes read_text readlink rename replace resolve"
    ),
    **_of("DUR105", "pathlib.Path", "rglob rmdir samefile stat symlink_to touch unlink walk write_bytes write_text"),
    **_of("DUR105", "glob", "glob iglob"),
    **_of("DUR105", "anyio", "open_file"),
    **_of("DUR106", "anyio", "connect_tcp connect_unix create_tcp_listener create_udp_socket"),
    **_of("DUR106", "asyncio", "open_connection open_unix_connection start_server start_unix_server"),
    **_of("DUR106", "urllib.request", "Request build_opener urlopen urlretrieve"),
    **_of("DUR107", "sqlalchemy", "create_engine"),
    **_of("DUR107", "sqlalchemy.orm", "Session sessionmaker"),
    **_of("DUR107", "sqlalchemy.ext.asyncio", "AsyncSession async_sessionmaker create_async_engine"),
    **_of("DUR107", "durable", "Client.connect"),
    **_of("DUR107", "durable.client", "Client.connect"),
    **_of("DUR108", "os", "abort execl execle execlp execv execve execvp fork forkpty kill killpg popen posix_spawn"),
    **_of("DUR108", "os", "spawnl spawnv startfile system wait waitpid _exit"),
    **_of("DUR108", "asyncio", "create_subprocess_exec create_subprocess_shell"),
    **_of("DUR108", "anyio", "open_process run_process"),
    **_of("DUR109", "threading", "Thread Timer"),
    **_of("DUR109", "concurrent.futures", "ProcessPoolExecutor ThreadPoolExecutor"),
    **_of("DUR109", "asyncio", "to_thread run_coroutine_threadsafe"),
    **_of("DUR109", "anyio.to_thread", "run_sync"),
    **_of("DUR109", "anyio.to_process", "run_sync"),
    **_of("DUR110", "asyncio", "Runner new_event_loop run set_event_loop"),
    **_of("DUR110", "anyio", "run"),
    **_of("DUR111", "os", "cpu_count environ environb getenv getlogin getloadavg getpid getppid uname"),
    **_of("DUR111", "sys", "argv stdin"),
    **_of("DUR111", "getpass", "getuser"),
    **_of("DUR112", "threading", "Barrier.wait Condition.acquire Condition.wait Event.wait Lock.acquire RLock.acquire"),
    **_of("DUR112", "threading", "Semaphore.acquire BoundedSemaphore.acquire"),
    **_of("DUR112", "queue", "Queue.get Queue.join Queue.put LifoQueue.get PriorityQueue.get SimpleQueue.get"),
    **_of("DUR113", "builtins", "input"),
    **_of("DUR113", "getpass", "getpass"),
    **_of("DUR202", "builtins", "hash id"),
}
"""A mention of one of these, called or handed on, is a finding. Of a class's methods, for instances of it."""

_TIME_AT: dict[str, int] = {
    **dict.fromkeys(["time.asctime", "time.ctime", "time.gmtime", "time.localtime"], 0),
    **dict.fromkeys(["django.utils.timezone.localdate", "django.utils.timezone.localtime"], 0),
    "time.strftime": 1,
}
"""A call of these reads the clock only without the time that this argument is."""

ORDER = {"DUR201", "DUR206"}
"""Of these, nothing is a finding where no command is made: in queries and validators."""

_NETWORK = """aiohttp aiokafka anthropic boto3 botocore ftplib google.cloud grpc http.client httpx imaplib kafka openai
paramiko pika poplib requests slack_sdk smtplib socket socketserver telnetlib urllib3 websocket websockets xmlrpc"""
_DATABASES = """aiomysql aiosqlite asyncpg cassandra cx_Oracle dbm duckdb elasticsearch motor MySQLdb mysql oracledb
peewee psycopg psycopg2 pymongo pymysql pyodbc redis shelve sqlite3"""
MODULES: dict[str, str] = {
    **dict.fromkeys(_NETWORK.split(), "DUR106"),
    **dict.fromkeys(_DATABASES.split(), "DUR107"),
    **dict.fromkeys(["subprocess", "pty"], "DUR108"),
    **dict.fromkeys(["multiprocessing", "_thread"], "DUR109"),
    **dict.fromkeys(["shutil", "tempfile"], "DUR105"),
    "numpy.random": "DUR103",
    "platform": "DUR111",
}
"""A call of anything in these is a finding, but for what only makes a value (`VALUES`)."""

VALUES = ("Error", "Exception", "Warning", "Timeout", "Limits", "Headers", "URL", "CompletedProcess")
SEEDED = {"numpy.random.default_rng", "numpy.random.RandomState", "numpy.random.Generator", "numpy.random.SeedSequence"}
"""Of these, a call with an argument is a source of chance of the program's own."""

METHODS: dict[str, str] = {"run_in_executor": "DUR109", "run_until_complete": "DUR110", "run_forever": "DUR110"}
"""A call of a method of this name is a finding, whatever it is a method of."""

LOCKS = {f"threading.{name}" for name in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")}
"""A ``with`` on one of these blocks."""

AWAITABLE = {
    *(f"asyncio.{name}" for name in ("gather", "sleep", "wait", "wait_for")),
    *(f"durable.workflow.{name}" for name in ("sleep", "wait_condition", "wait", "start_child_workflow")),
    *(
        f"durable.workflow.execute_{each}"
        for each in ("activity", "activity_method", "activity_class", "child_workflow")
    ),
    *(f"durable.workflow.execute_local_{each}" for each in ("activity", "activity_method", "activity_class")),
}
"""A call of these that is nobody's to await does nothing, or is forgotten."""


def is_told_the_time(path: str, call: ast.Call) -> bool:
    """Is this a call that would read the clock, but for the time that it is given?"""
    if (at := _TIME_AT.get(path)) is None:
        return False
    given = [*call.args[at : at + 1], *(each.value for each in call.keywords if each.arg in ("value", None))]
    is_given = any(not (isinstance(each, ast.Constant) and each.value is None) for each in given)
    return is_given or any(isinstance(each, ast.Starred) for each in call.args)


_MAKERS = {"DUR106", "DUR107", "DUR108", "DUR109"}


def rule_of(path: str, *, arguments: bool) -> str | None:
    """The id of the rule that a call of this dotted name breaks, with ``arguments`` or without, if any."""
    if (rule := NAMES.get(path)) is not None:
        return rule
    if "()" in path:  # a method of what such a function has made
        made = NAMES.get(path.partition("()")[0])
        return made if made in _MAKERS else None
    if path == "random.Random":
        return None if arguments else "DUR103"
    if path.endswith(VALUES) or (path in SEEDED and arguments):
        return None
    prefix = path
    while "." in prefix:
        prefix = prefix.rpartition(".")[0]
        if (rule := MODULES.get(prefix)) is not None:
            return None if prefix == "numpy.random" and path.startswith(tuple(f"{each}." for each in SEEDED)) else rule
    return None
