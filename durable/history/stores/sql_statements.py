"""All that every database is asked, by who asks it."""

from __future__ import annotations

from durable.history.stores.sql_claim import ClaimRunStatements, ClaimTaskStatements
from durable.history.stores.sql_commit import (
    CommitAttributeStatements,
    CommitStatements,
    CommitTaskStatements,
    UnparkStatements,
)
from durable.history.stores.sql_reads import ReadPartStatements, ReadRunStatements
from durable.history.stores.sql_text import Language
from durable.history.stores.sql_workers import WorkerStatements


class Statements:
    """SQL texts in groups; the names beside each text are its positional parameters, in order."""

    def __init__(self, sql: Language) -> None:
        self.commit = CommitStatements(sql)
        self.commit_tasks = CommitTaskStatements(sql)
        self.commit_attributes = CommitAttributeStatements(sql)
        self.unpark = UnparkStatements(sql)
        self.claim_runs = ClaimRunStatements(sql)
        self.claim_tasks = ClaimTaskStatements(sql)
        self.workers = WorkerStatements(sql)
        self.read_runs = ReadRunStatements(sql)
        self.read_parts = ReadPartStatements(sql)
