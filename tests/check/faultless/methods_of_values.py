"""Methods that have the names of I/O."""

# ruff: noqa
from durable import activity, workflow


class Door:
    def __init__(self) -> None:
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    def connect(self, other: "Door") -> None:
        self.other = other


@workflow.defn
async def enter() -> bool:
    door = Door()
    door.open()
    door.connect(Door())
    return door.is_open
