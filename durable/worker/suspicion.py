"""May a workflow's code read a clock, draw chance or start a thread? By what it names, and what that names.

It only decides whose steps are profiled, so that code which names none of it pays nothing. Code is followed through
the names of modules, classes, functions and closures; not through what is known at run time only, such as a callback
in a list.
"""

from __future__ import annotations

import dis
import functools
import os
import random
import secrets
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from durable.activity import ActivityDefinition
from durable.worker.lines import Author, author
from durable.worker.restricted import functions
from durable.workflow.definition import WorkflowDefinition

_LOCAL_IMPORTS = frozenset(
    {"_thread", "concurrent.futures", "datetime", "random", "secrets", "threading", "time", "uuid"}
)
_NAMED = (BuiltinFunctionType, FunctionType, MethodType, type)
_TABLE_MAX = 100  # what is longer holds data, not functions
_SOURCES: frozenset[Any] = frozenset(
    [
        *functions(),
        *(getattr(random, name) for name in random.__all__ if name != "Random"),
        *(getattr(secrets, name) for name in secrets.__all__ if name != "compare_digest"),
        *(getattr(uuid, name, None) for name in ("getnode", "uuid1", "uuid4", "uuid6", "uuid7")),
        *(threading.Thread, ThreadPoolExecutor),
    ]
)


@functools.lru_cache(maxsize=4096)
def is_suspect(workflow: Any) -> bool:
    """Does anything that a workflow's function, or a method of its class, leads to name one of these?"""
    package = _package(workflow)
    roots: list[Any] = list(_members(workflow, package)) if isinstance(workflow, type) else [workflow]
    waiting = list(roots)
    own = {id(each) for each in roots}
    seen: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, _NAMED):
            if thing in _SOURCES:
                return True
            if id(thing) not in own and (ActivityDefinition.of(thing) or WorkflowDefinition.of(thing)):
                continue  # it runs elsewhere
        waiting.extend(_led_to(thing, package))
    return False


def _led_to(thing: Any, package: str) -> Iterator[Any]:
    if isinstance(thing, MethodType | staticmethod | classmethod):
        yield getattr(cast("Any", thing), "__func__", None)
    elif isinstance(thing, property):
        yield from (thing.fget, thing.fset)
    elif isinstance(thing, functools.partial):
        yield thing.func
    elif isinstance(thing, FunctionType):
        if _is_followed(thing, package):
            yield from _named(thing, thing.__code__)
            yield from _held(thing)
    elif isinstance(thing, dict | list | tuple):
        table = cast("Any", thing)
        if len(table) <= _TABLE_MAX:
            yield from table.values() if isinstance(thing, dict) else table
    elif isinstance(thing, type):
        yield from thing.__mro__[1:]
        yield from _members(thing, package)


def _members(cls: type[Any], package: str) -> Iterator[Any]:
    """What its instances run: its methods, and the factories of a dataclass's or a pydantic model's fields."""
    for base in cls.__mro__:
        members = [each for each in vars(base).values() if not isinstance(each, type)]
        yield from (each for each in members if not isinstance(each, FunctionType) or _is_followed(each, package))
    for fields in ("__dataclass_fields__", "__pydantic_fields__"):
        for field in vars(cls).get(fields, {}).values():
            yield getattr(field, "default_factory", None)


def _is_followed(function: FunctionType, package: str) -> bool:
    return author(function.__code__.co_filename) is Author.USER or _package(function) == package


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]


def _held(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _named(function: FunctionType, code: CodeType) -> Iterator[Any]:
    """What the code, and the code inside it, names."""
    found: Any = None
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found = function.__globals__.get(instruction.argval)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(found, ModuleType | type):
            found = getattr(found, instruction.argval, None)
        elif instruction.opname == "IMPORT_NAME" and instruction.argval in _LOCAL_IMPORTS:
            found = os.urandom  # one is as good as another
        else:
            found = None
        yield found
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named(function, constant)
