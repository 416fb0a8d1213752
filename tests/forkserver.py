"""Where tests fork their worker processes from: a process that has loaded what they need, which else takes each of them
longer than its work.

A pytest process has one such process for all its tests; so there is one list of what it loads.
"""

from __future__ import annotations

import multiprocessing

from durable.history.stores import postgres_sql, sqlite_sql

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [
        "tests.forkserver",
        "anyio._backends._asyncio",
        "durable.client",
        "durable.history.stores.postgres",
        "durable.history.stores.sqlite",
        "durable.worker",
        "durable.workflow",
        "pytest",
        "sqlalchemy.ext.asyncio",
    ]
)

for sql in (sqlite_sql, postgres_sql):
    sql.statements()  # compiled once, before anybody forks
