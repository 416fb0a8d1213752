"""How a database's texts are made from SQLAlchemy's statements, with positional parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Delete,
    Insert,
    Table,
    Update,
    bindparam,
    insert,
    literal_column,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from durable.history.stores.tables import activity_tasks, inbox

Among = Callable[[ColumnElement[str] | ColumnElement[int], str], ColumnElement[bool]]
"""How a database says "this column is one of the values in that one parameter"."""


def given(name: str) -> BindParameter[Any]:
    """A parameter."""
    return bindparam(name)


def number(value: int) -> ColumnElement[int]:
    """A constant, written into the statement."""
    return literal_column(str(int(value)), BigInteger())


NONE = number(0)
"""An offset; SQLAlchemy would write one of its own, as a parameter."""

THIS_TASK = (activity_tasks.c.run_id == given("b_run"), activity_tasks.c.scheduled_event_id == given("b_event"))
THIS_KEY = ("b_run", "b_event")
"""The parameters of `THIS_TASK`."""


class Language:
    """What one database speaks."""

    def __init__(self, dialect: Dialect, among: Among) -> None:
        self.among = among
        self._dialect = dialect

    def text(self, statement: ClauseElement, *names: str) -> str:
        """The text of a statement whose positional parameters are ``names``, in this order."""
        compiler = self.compiled(statement)
        taken = tuple(compiler.positiontup or ())
        constants = {name: value for name, value in compiler.params.items() if name not in names}
        if constants:
            raise ValueError(f"constants {constants} would have to be parameters: {compiler}")
        if taken != names:
            raise ValueError(f"parameters are {taken}, not {names}: {compiler}")
        return str(compiler)

    def compiled(self, statement: ClauseElement) -> SQLCompiler:
        compiler = statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiler, SQLCompiler)
        return compiler

    def many(self, statement: Insert | Update | Delete, *names: str) -> str:
        """As `text`, for a statement that is run for many rows of parameters at once."""
        return self.text(statement, *names)

    def insert(self, table: Table) -> str:
        """Whole rows; their values are the parameters, except for the id that the inbox counts up itself."""
        columns = [column.name for column in table.c if not (table is inbox and column.name == "id")]
        return self.many(insert(table).values({name: given(name) for name in columns}), *columns)
