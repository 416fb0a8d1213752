"""What conversion refuses: where the value is, and why."""

from __future__ import annotations

from collections.abc import Sequence


class ConversionError(TypeError):
    """A value that can't become a payload, or a payload that can't become the value asked for.

    ``str()`` is ``order.lines[2].price: <reason>``: the name of the parameter (``argument 2`` where it has none),
    the path within its value, and the reason.
    """

    def __init__(self, reason: str, *, path: str = "", index: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.index = index
        self.name = ""

    def __str__(self) -> str:
        name = self.name or ("value" if self.index is None else f"argument {self.index + 1}")
        return f"{name}{self.path}: {self.reason}"

    def be_named(self, names: Sequence[str]) -> None:
        """Take the name of the parameter at the error's index."""
        if self.index is not None and self.index < len(names):
            self.name = names[self.index]


class PayloadTooLarge(ConversionError):
    """A value whose payload is larger than the converter's ``payload_bytes_max``.

    As the result of an activity it is the type of a final ApplicationError: "PayloadTooLarge".
    """
