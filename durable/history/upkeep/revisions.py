"""Pure: what the revision of a database's tables means for this version of durable."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto

from durable.history.stores.tables import SCHEMA
from durable.history.upkeep.finding import Finding, Grade, bad


class Standing(Enum):
    """How tables stand to those that this version knows."""

    NONE = auto()
    BEHIND = auto()
    TODAY = auto()
    AHEAD = auto()


def standing(revision: str | None) -> Standing:
    if revision is None:
        return Standing.NONE
    if revision == SCHEMA:
        return Standing.TODAY
    return Standing.AHEAD if revision > SCHEMA else Standing.BEHIND


def named(revision: str | None) -> str:
    """A revision, for a sentence."""
    if revision is None:
        return "no tables"
    return f"revision {revision}" if revision else "a revision before the first"


def told(revision: str | None) -> str:
    """How they stand, in a sentence."""
    match standing(revision):
        case Standing.NONE:
            return f"there are no tables yet; this version of durable makes revision {SCHEMA}"
        case Standing.BEHIND:
            return f"the tables are old: {named(revision)}; this version of durable needs {SCHEMA}"
        case Standing.TODAY:
            return f"the tables are up to date: {named(revision)}"
        case Standing.AHEAD:
            return f"a newer version of durable made the tables: {named(revision)}; this one knows {SCHEMA}"


def way_out(revision: str | None) -> str:
    """What to do about it."""
    match standing(revision):
        case Standing.NONE:
            return "make them with `durable db upgrade`, or with what `durable db sql` prints"
        case Standing.BEHIND:
            return "run `durable db upgrade`, or what `durable db sql --from` prints"
        case Standing.TODAY:
            return ""
        case Standing.AHEAD:
            return "use that version here too"


def judge(revision: str | None) -> Finding:
    # A worker makes them, or brings them up to date, when it may.
    grades = {Standing.TODAY: Grade.OK, Standing.AHEAD: Grade.BAD}
    grade = grades.get(standing(revision), Grade.WARNING)
    return Finding("schema", grade, told(revision), way_out(revision))


def missing(tables: Collection[str]) -> list[Finding]:
    """Tables that are not there, though the revision says that they are."""
    if not tables:
        return []
    return [bad("tables", f"{', '.join(sorted(tables))} are gone, though they were made", "restore a backup")]
