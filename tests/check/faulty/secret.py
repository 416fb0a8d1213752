"""A token in the constructor."""

# ruff: noqa
import secrets

from durable import activity, workflow


@workflow.defn
class Login:
    def __init__(self) -> None:
        self.token = secrets.token_hex(8)  # DUR103

    @workflow.run
    async def run(self) -> str:
        return self.token
