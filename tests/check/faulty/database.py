"""A database in a base class."""

# ruff: noqa
import sqlite3

from durable import activity, workflow


class Stored:
    def save(self, value: str) -> None:
        sqlite3.connect("app.db").execute("insert into t values (?)", [value])  # DUR107


@workflow.defn
class Order(Stored):
    @workflow.run
    async def run(self, value: str) -> None:
        self.save(value)
