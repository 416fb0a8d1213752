"""A database, by an engine that the module made."""

# ruff: noqa
from sqlalchemy import create_engine, text

from durable import activity, workflow


engine = create_engine("sqlite:///app.db")


class Base:
    def count(self) -> int:
        with engine.begin() as connection:  # DUR107
            return connection.execute(text("select 1")).scalar_one()


@workflow.defn
class Counted(Base):
    made = 0

    @workflow.run
    async def run(self) -> int:
        type(self).made += 1  # DUR203
        return super().count()
