"""Which source line of the user's code is running."""

from __future__ import annotations

import asyncio
import site
import sys
import sysconfig
import traceback
from enum import IntEnum
from pathlib import Path
from types import FrameType

import durable

_OWN_FILES = str(Path(durable.__file__).parent) + "/"
_ASYNCIO = str(Path(asyncio.__file__).parent) + "/"
_INSTALLED = tuple(f"{Path(each)}/" for each in (*site.getsitepackages(), site.getusersitepackages()))
_STANDARD = tuple(f"{Path(sysconfig.get_path(each))}/" for each in ("stdlib", "platstdlib"))


class Author(IntEnum):
    """Whose code it is. What is generated, and has no file, is nobody's: as Python's own."""

    PYTHON = 0
    LIBRARY = 1
    USER = 2


def author(path: str) -> Author:
    """Who has written a source file; we count as Python's own."""
    if path.startswith(("<", _OWN_FILES)):
        return Author.PYTHON
    if path.startswith(_INSTALLED):  # lies below the standard library, so it comes first
        return Author.LIBRARY
    return Author.PYTHON if path.startswith(_STANDARD) else Author.USER


def where() -> str:
    """The innermost source line on the stack of the run that is neither ours nor asyncio's; "" when there is none."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_qualname != "Run.activate":
        if is_user_code(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def where_raised(error: BaseException) -> str:
    """The innermost line of the user's that the error came through; "" if it came through none."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return next((f"{path}:{line}" for path, line in reversed(lines) if is_user_code(path)), "")


def is_user_code(path: str) -> bool:
    """Of what has no file, what is generated (the methods of a dataclass) is no user's code either."""
    return not path.startswith((_OWN_FILES, _ASYNCIO)) and path != "<string>"
