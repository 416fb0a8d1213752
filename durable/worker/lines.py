"""Which source line of the user's code is running."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import FrameType

import durable

_OWN_FILES = str(Path(durable.__file__).parent) + "/"
_ASYNCIO = str(Path(asyncio.__file__).parent) + "/"


def where() -> str:
    """The innermost source line on the stack that is neither ours nor asyncio's."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if is_user_code(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def is_user_code(path: str) -> bool:
    return not path.startswith((_OWN_FILES, _ASYNCIO))
