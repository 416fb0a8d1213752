"""What the log refuses, and why: each error says what happened, to which run, and what to do next."""

from __future__ import annotations


class HistoryError(Exception):
    """Anything that the ground floor refuses."""


class UnknownOutcome(HistoryError):
    """A commit's reply was lost: it may be written or not. Forget all copies and read again."""


class StoreUnavailable(HistoryError):
    """The database can't be used: the message names it and says what to do."""


class SchemaTooNew(StoreUnavailable):
    """The database was made by a newer version of durable."""


class WorkerDead(HistoryError):
    """This worker has been declared dead by another one; all that it held belongs to others now."""


class CorruptHistory(HistoryError):
    """Stored bytes can't be read as events or messages."""


class IllegalTransition(HistoryError):
    """Events or commands that no run can produce: a bug, or a history that was edited."""


class InvalidQuery(HistoryError):
    """A list filter can't be understood, or asks for what there is not: the message says what, and where."""


class SearchTooSlow(HistoryError):
    """A search was stopped: it took longer than one may."""
