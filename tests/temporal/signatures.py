"""Where our public face differs from that of the published `temporalio`; ``python -m tests.temporal.signatures`` tells,
and drops from the documentation's tables what differs no more.

Of every public name of a module: is it there; can it be called the same way (parameters, their kinds, their defaults);
has a class the same members, ancestors and number of type parameters, an enum the same values, a TypedDict the same
keys? Ours may add keyword-only parameters, members and keys, and give defaults to what is required there.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import importlib.util
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from temporalio.common import _arg_unset

from durable.workflow.calls import UNSET

MODULES = [
    "activity",
    "api.common.v1",
    "client",
    "common",
    "contrib.opentelemetry",
    "contrib.pydantic",
    "contrib.workflow_streams",
    "converter",
    "envconfig",
    "exceptions",
    "nexus",
    "plugin",
    "runtime",
    "service",
    "testing",
    "types",
    "worker",
    "worker.workflow_sandbox",
    "workflow",
]
CONSTRUCTOR = "constructor"
OPAQUE = {"SandboxRestrictions", "SandboxedWorkflowRunner"}
"""Of these, which forbid nothing here, one is as good as another."""
TABLE = Path(__file__).parents[2] / "docs" / "temporal.md"


class Difference(NamedTuple):
    """``what`` of ``name`` in ``module`` is not as Temporal has it."""

    module: str
    name: str
    what: str


def differences() -> Iterator[Difference]:
    """All of them, as the code stands."""
    for module in MODULES:
        try:
            ours = importlib.import_module(f"durable.{module}")
        except ModuleNotFoundError:
            yield Difference(module, "", "missing")
            continue
        theirs = importlib.import_module(f"temporalio.{module}")
        for name in public_names(theirs):
            try:
                is_there = hasattr(ours, name)
            except ImportError:
                yield Difference(module, name, "refused")  # with a sentence
                continue
            if not is_there:
                yield Difference(module, name, "missing")
            elif not _is_compared_elsewhere(getattr(theirs, name), module):
                for path, what in compared(getattr(theirs, name), getattr(ours, name)):
                    yield Difference(module, name + path, what)


def tabled() -> dict[Difference, str]:
    """Those that the documentation's tables own up to, with their reasons. Each stands there once.

    ``constructor`` alone stands for whatever is different about a constructor.
    """
    found: dict[Difference, str] = {}
    for line in TABLE.read_text().splitlines():
        row = _row(line)
        for difference in row or []:
            assert difference not in found, f"{difference} stands in the table twice"
            found[difference] = line.rsplit("|", 2)[1].strip()
    return found


def against_the_table() -> tuple[list[Difference], list[Difference]]:
    """(what differs and is not in the table, what is in the table and does not differ)"""
    owned, unowned, met = set(tabled()), [], set()
    for difference in differences():
        any_constructor = difference._replace(what=CONSTRUCTOR)
        if difference in owned:
            met.add(difference)
        elif difference.what.startswith(f"{CONSTRUCTOR}:") and any_constructor in owned:
            met.add(any_constructor)
        else:
            unowned.append(difference)
    return sorted(unowned), sorted(owned - met)


def _row(line: str) -> list[Difference] | None:
    """``| `module` | `name`, `other` | what | reason |``: its differences. None for any other line."""
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    if len(cells) != 4 or not re.fullmatch(r"`[\w.]+`", cells[0]):
        return None
    names = re.findall(r"`([^`]+)`", cells[1]) or [""]
    return [Difference(cells[0].strip("`"), name, cells[2].replace("`", "")) for name in names]


def drop(stale: list[Difference]) -> None:
    """Take these out of the table."""
    kept: list[str] = []
    for line in TABLE.read_text().splitlines():
        row = _row(line)
        left = [each for each in row or [] if each not in stale]
        if row and left and left != row:
            cells = line.split("|")
            cells[2] = f" {', '.join(f'`{each.name}`' for each in left)} "
            line = "|".join(cells)
        if not row or left:
            kept.append(line)
    TABLE.write_text("\n".join(kept) + "\n")


def public_names(module: ModuleType) -> list[str]:
    """Those without an underscore of its `__all__`, or else of what it makes itself (rather than imports)."""
    names = getattr(module, "__all__", None)
    if names is None:
        assert module.__file__ is not None
        names = _made(ast.parse(Path(module.__file__).read_text()).body)
    return sorted({name for name in names if not name.startswith("_")})


def _is_compared_elsewhere(theirs: Any, module: str) -> bool:
    """Is it one of the names that a module hands on from another one?"""
    home = f"{getattr(theirs, '__module__', '')}."
    return any(home.startswith(f"temporalio.{each}.") for each in MODULES if not f"{module}.".startswith(f"{each}."))


def _made(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If(body=inner, orelse=other):
                yield from _made(inner)
                yield from _made(other)
            case _:
                pass


def compared(theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    """(path from the name on, what differs)"""
    if inspect.isclass(theirs) and not inspect.isclass(ours):
        yield "", "no class"
    elif inspect.isclass(theirs):
        yield from _classes(theirs, ours)
    elif inspect.isroutine(theirs):
        yield from (("", what) for what in _callables(theirs, ours))
    elif type(theirs).__module__.startswith("temporalio"):
        yield from _members(type(theirs), type(ours), ours)


def _classes(theirs: type[Any], ours: type[Any]) -> Iterator[tuple[str, str]]:
    if issubclass(theirs, enum.Enum):
        mine = {name: each.value for name, each in ours.__members__.items()} if issubclass(ours, enum.Enum) else {}
        yield from (
            ("", f"no {name} = {each.value!r}")
            for name, each in theirs.__members__.items()
            if mine.get(name) != each.value
        )
        yield from _ancestors(theirs, ours)
        return
    if hasattr(theirs, "__total__"):  # a TypedDict, be it that of typing_extensions
        missing = sorted(set(theirs.__annotations__) - set(ours.__annotations__))
        if missing:
            yield "", f"no key {', '.join(missing)}"
        return
    yield from _ancestors(theirs, ours)
    if not getattr(theirs, "_is_protocol", False):
        yield from (("", f"{CONSTRUCTOR}: {what}") for what in _callables(theirs, ours))
    yield from _type_parameters(theirs, ours)
    yield from _members(theirs, ours, ours)


def _type_parameters(theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    """Could an annotation that gives theirs its types give them to ours? (It is evaluated when it is met.)"""
    parameters = getattr(theirs, "__parameters__", ())
    if parameters:
        try:
            ours[(Any,) * len(parameters)]
        except TypeError:
            yield "", f"does not take {len(parameters)} type parameters"


def _ancestors(theirs: type[Any], ours: type[Any]) -> Iterator[tuple[str, str]]:
    mine = {each.__name__ for each in ours.__mro__}
    ignored = {"object", "ABC", "Generic", "Protocol"}
    for each in theirs.__mro__[1:]:
        if each.__name__ not in mine | ignored and not each.__name__.startswith("_"):
            yield "", f"is no {each.__name__}"


def _members(theirs: type[Any], ours: type[Any], instance: Any) -> Iterator[tuple[str, str]]:
    for name in sorted(_public(theirs)):
        mine = inspect.getattr_static(ours, name, None)
        if mine is None and name not in _annotated(ours) and not hasattr(instance, name):
            yield f".{name}", "missing"
            continue
        member = inspect.getattr_static(theirs, name, None)
        if isinstance(member, property):
            frozen = getattr(ours, "__dataclass_params__", None)
            settable = (
                mine.fset is not None if isinstance(mine, property) else not (frozen is not None and frozen.frozen)
            )
            if member.fset is not None and not settable:
                yield f".{name}", "can't be set"
        elif inspect.isroutine(member):
            if isinstance(member, staticmethod | classmethod) and not isinstance(mine, staticmethod | classmethod):
                yield f".{name}", "needs an instance"
            else:
                unbound = isinstance(mine, property) or not callable(getattr(ours, name, None))
                if unbound:
                    yield f".{name}", "is no method"
                else:
                    yield from ((f".{name}", w) for w in _callables(getattr(theirs, name), getattr(ours, name)))


def _public(theirs: type[Any]) -> set[str]:
    """What is its own: not its public bases', which are compared for themselves, nor the standard library's."""
    names: set[str] = set()
    for each in theirs.__mro__:
        is_private = each.__module__.startswith("temporalio.") and each.__name__.startswith("_")
        if each is theirs or (is_private and not each.__module__.startswith("temporalio.bridge")):
            names |= set(vars(each)) | set(vars(each).get("__annotations__", {}))
    return {name for name in names if not name.startswith("_")}


def _annotated(ours: type[Any]) -> set[str]:
    return {name for each in ours.__mro__ for name in vars(each).get("__annotations__", {})}


def _callables(theirs: Any, ours: Any) -> Iterator[str]:
    """One line with all that differs, if anything does."""
    found: dict[str, list[str]] = {}
    for what, name in _of_callables(theirs, ours):
        found.setdefault(what, []).append(name)
    if found:
        yield "; ".join(f"{what} {', '.join(names)}".strip() for what, names in found.items())


def _of_callables(theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    """(what differs, of which parameter)"""
    if inspect.isroutine(theirs) and inspect.iscoroutinefunction(theirs) != inspect.iscoroutinefunction(ours):
        yield ("not async" if inspect.iscoroutinefunction(theirs) else "async"), ""
    try:
        wanted = list(inspect.signature(theirs).parameters.values())
    except ValueError:
        return
    mine = list(inspect.signature(ours).parameters.values())
    if wanted and mine and wanted[0].name == mine[0].name == "self":
        wanted, mine = wanted[1:], mine[1:]
    keywords = _keywords(mine)
    taken = {parameter.name: parameter for parameter in mine}
    places = [p.name for p in mine if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for place, parameter in enumerate(wanted):
        name = parameter.name
        if name.startswith("_"):
            continue
        found = taken.get(name)
        if found is None:
            if name not in keywords:
                yield "no parameter", name
        elif found.kind is not parameter.kind:
            yield f"{found.kind.description}:", name
        elif parameter.default is not parameter.empty and not same(parameter.default, found.default):
            yield "other default:", f"{name} = {_shown(found.default)}"
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and places[place : place + 1] != [name]:
            yield "other place:", name
    known = {parameter.name for parameter in wanted}
    for parameter in mine:
        is_required = parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
        is_positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if parameter.name not in known and (is_required or is_positional):
            yield f"{'required' if is_required else 'positional'} besides:", parameter.name


def _keywords(parameters: list[inspect.Parameter]) -> set[str]:
    """The names that ``**options: Unpack[SomeTypedDict]`` takes; whoever is handed them on to says their defaults."""
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD and parameter.annotation is not parameter.empty:
            match = re.search(r"Unpack\[(\w+)\]", str(parameter.annotation))
            if match is not None:
                return _typed_dict_keys(match[1])
    return set()


def _typed_dict_keys(name: str) -> set[str]:
    for module in (
        "client.client",
        "client.standalone",
        "workflow.calls",
        "workflow.children",
        "workflow.local_calls",
        "worker",
    ):
        found = getattr(importlib.import_module(f"durable.{module}"), name, None)
        if found is not None:
            return set(typing.get_type_hints(found))
    raise LookupError(f"where is the TypedDict {name}?")


def same(theirs: Any, ours: Any) -> bool:
    """Do two defaults mean the same?"""
    if theirs is _arg_unset or ours is UNSET:
        return theirs is _arg_unset and ours is UNSET
    if isinstance(theirs, enum.Enum):
        return isinstance(ours, enum.Enum) and (theirs.name, theirs.value) == (ours.name, ours.value)
    if inspect.isclass(theirs):
        return inspect.isclass(ours) and theirs.__name__ == ours.__name__
    if isinstance(theirs, list | tuple):
        return (
            isinstance(ours, list | tuple)
            and len(theirs) == len(ours)
            and all(same(a, b) for a, b in zip(theirs, ours, strict=True))
        )
    if isinstance(theirs, Mapping):
        return isinstance(ours, Mapping) and dict(theirs) == dict(ours)
    if type(theirs).__module__.startswith("temporalio"):
        return type(theirs).__name__.lstrip("_") == type(ours).__name__.lstrip("_") and all(
            same(getattr(theirs, each.name), getattr(ours, each.name, None))
            for each in (dataclasses.fields(theirs) if dataclasses.is_dataclass(theirs) else ())
            if each.init and type(theirs).__name__ not in OPAQUE
        )
    if repr(theirs) == "<factory>":
        return True
    return type(theirs) is type(ours) and bool(theirs == ours)


def _shown(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    return re.sub(r" at 0x\w+", "", repr(default))


if __name__ == "__main__":
    unowned, stale = against_the_table()
    drop(stale)
    for difference in stale:
        print("differs no more, dropped from the table:", *difference, sep="\t")
    for difference in unowned:
        print("differs, and is not in the table:", *difference, sep="\t")
