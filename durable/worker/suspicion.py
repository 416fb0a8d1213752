"""May a workflow's code read a clock, draw chance or start a thread? By what it names, and what that names.

It only decides whose steps are profiled, so that code which names none of it pays nothing. Code is followed through
the names of modules, classes, functions and closures; not through what is known at run time only, such as a callback
in a list. Nothing of the user's runs: no ``__getattr__`` of a module, no descriptor, no ``__class__`` of a proxy.
"""

from __future__ import annotations

import dis
import functools
import inspect
import os
import random
import secrets
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import BuiltinFunctionType, ClassMethodDescriptorType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from durable.activity import ActivityDefinition
from durable.worker.lines import Author, author
from durable.worker.restricted import functions, of_subclass
from durable.workflow.definition import WorkflowDefinition

_LOCAL_IMPORTS = frozenset(
    {"_thread", "concurrent.futures", "datetime", "random", "secrets", "threading", "time", "uuid"}
)
_FUNCTIONS = (BuiltinFunctionType, FunctionType, MethodType)
_POOLS = (threading.Thread, ThreadPoolExecutor)
_TABLE_MAX = 100  # what is longer holds data, not functions
_SOURCES: frozenset[Any] = frozenset(
    [
        *functions(),
        *(getattr(random, name) for name in random.__all__ if name != "Random"),
        *(getattr(secrets, name) for name in secrets.__all__ if name != "compare_digest"),
        *(getattr(uuid, name, None) for name in ("getnode", "uuid1", "uuid4", "uuid6", "uuid7")),
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
        if any(thing is each for each in _POOLS):
            return True
        if _is(thing, *_FUNCTIONS) and (thing in _SOURCES or of_subclass(thing)):
            return True
        if id(thing) not in own and _runs_elsewhere(thing):
            continue
        waiting.extend(_led_to(thing, package))
    return False


def _is(thing: Any, *kinds: type[Any]) -> bool:
    """Like `isinstance`, which would ask the thing for its class."""
    return issubclass(type(thing), kinds)


def _runs_elsewhere(thing: Any) -> bool:
    """Is it an activity, or another workflow?"""
    kinds: tuple[object, ...] = thing.__mro__ if _is(thing, type) else (thing,) if _is(thing, FunctionType) else ()
    return any(_is(each, ActivityDefinition, WorkflowDefinition) for kind in kinds for each in vars(kind).values())


def _led_to(thing: Any, package: str) -> Iterator[Any]:
    if _is(thing, MethodType, staticmethod, classmethod):
        yield thing.__func__
    elif _is(thing, property):
        yield from (thing.fget, thing.fset)
    elif _is(thing, functools.partial):
        yield thing.func
    elif _is(thing, FunctionType):
        if _is_followed(thing, package):
            yield from _named(thing, thing.__code__)
            yield from _held(thing)
    elif _is(thing, dict, list, tuple):
        table: type[Any] = dict if _is(thing, dict) else list if _is(thing, list) else tuple
        if table.__len__(thing) <= _TABLE_MAX:  # not its own methods, which may be the user's
            yield from dict[Any, Any].values(thing) if table is dict else table.__iter__(thing)
    elif _is(thing, type):
        yield from thing.__mro__[1:]
        yield from _members(thing, package)


def _members(cls: type[Any], package: str) -> Iterator[Any]:
    """What its instances run: its methods, and the factories of a dataclass's or a pydantic model's fields."""
    for base in cls.__mro__:
        members = [each for each in vars(base).values() if not _is(each, type)]
        yield from (each for each in members if not _is(each, FunctionType) or _is_followed(each, package))
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
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and _is(found, ModuleType, type):
            owner, found = found, inspect.getattr_static(found, instruction.argval, None)
            if _is(found, ClassMethodDescriptorType):
                found = found.__get__(None, owner)  # as `datetime.now` is got
        elif instruction.opname == "IMPORT_NAME" and instruction.argval in _LOCAL_IMPORTS:
            found = os.urandom  # one is as good as another
        else:
            found = None
        yield found
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named(function, constant)
