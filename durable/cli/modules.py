"""Modules named on the command line, imported; and the workflows and activities that they define."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from durable.activity import ActivityDefinition
from durable.cli.refusal import CommandRefused
from durable.converter import DataConverter
from durable.worker.interceptor import Interceptor
from durable.workflow.definition import WorkflowDefinition

OURS = str(Path(__file__).resolve().parent.parent)


@dataclass(frozen=True)
class Definitions:
    """What a worker is given to run, by name."""

    workflows: dict[str, Any] = field(default_factory=dict[str, Any])
    activities: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    data_converter: DataConverter = DataConverter.default
    """What their payloads are converted with: the modules' own ``data_converter``, if they have one."""
    interceptors: tuple[Interceptor, ...] = ()
    """What stands before them: the modules' own lists ``interceptors``, one after the other, each member once."""


def load(names: Iterable[str]) -> list[ModuleType]:
    """Import each module, given as its dotted name or as the path of its file; the working directory is importable.

    `CommandRefused` when there is none, or when importing it fails: with the line that fails.
    """
    _make_importable(Path.cwd())
    return [_from_file(name) if name.endswith(".py") or os.sep in name else _import(name, name) for name in names]


def collect(modules: Iterable[ModuleType]) -> Definitions:
    """The definitions that are names of these modules, imported ones included; each once, however often it is named.

    A `DataConverter` that a module calls ``data_converter`` is the one of all; a list of `Interceptor` that it calls
    ``interceptors`` stands before all. `CommandRefused` for a module without
    any definition, for two definitions of one name, and for two converters.
    """
    found = Definitions()
    places: dict[tuple[str, str], tuple[object, str]] = {}

    def check(kind: str, name: str, definition: object, place: str) -> None:
        known, known_place = places.setdefault((kind, name), (definition, place))
        if known is not definition:
            raise CommandRefused(f"{known_place} and {place} are both {kind} {name!r}: rename one, or leave one out")

    modules, converters, interceptors = list(modules), dict[str, DataConverter](), list[Interceptor]()
    for module in modules:
        any_found = False
        if isinstance(converter := vars(module).get("data_converter"), DataConverter):
            converters[module.__name__] = converter
        interceptors += [each for each in _interceptors_of(module) if not any(each is known for known in interceptors)]
        for name, value in list(vars(module).items()):
            kind = cast("type[object]", type(value))
            if not issubclass(kind, (FunctionType, MethodType, type)) and ActivityDefinition.of(kind) is None:
                continue  # other objects may answer to any attribute, or fail when they are asked
            place = f"{module.__name__}.{name}"
            workflow = WorkflowDefinition.of(value)
            activity = ActivityDefinition.of(value) if not isinstance(value, type) else None
            if workflow is not None:
                check("workflow", workflow.name, workflow, place)
                found.workflows[workflow.name] = value
            if activity is not None:
                check("activity", activity.name, activity, place)
                found.activities[activity.name] = value
            any_found = any_found or workflow is not None or activity is not None
        if not any_found:
            raise CommandRefused(
                f"module {module.__name__} has no workflow and no activity: "
                "decorate functions or classes at its top level with @workflow.defn or @activity.defn"
            )
    if any(converter != next(iter(converters.values())) for converter in converters.values()):
        raise CommandRefused(
            f"the modules {', '.join(converters)} each have a data_converter, and they differ: name modules of one"
        )
    converter = next(iter(converters.values()), DataConverter.default)
    return replace(found, data_converter=converter, interceptors=tuple(interceptors))


def converter_of(name: str) -> DataConverter:
    """The ``data_converter`` of the module of this name or file. `CommandRefused` when it has none."""
    module = load([name])[0]
    converter: object = vars(module).get("data_converter")
    if not isinstance(converter, DataConverter):
        raise CommandRefused(
            f"module {module.__name__} has no data_converter: give a DataConverter that name at its top level, "
            "or leave out --module"
        )
    return converter


def _interceptors_of(module: ModuleType) -> list[Interceptor]:
    """Its list of them; a list of anything else is the module's own affair."""
    named: object = vars(module).get("interceptors")
    if not isinstance(named, (list, tuple)):
        return []
    members: list[object] = list(cast("Iterable[object]", named))
    found = [each for each in members if isinstance(each, Interceptor)]
    return found if len(found) == len(members) else []


def _from_file(name: str) -> ModuleType:
    path = Path(name).absolute()
    if not path.is_file():
        raise CommandRefused(
            f"there is no file {path}: name a Python file, or a module as in `durable worker my_app.flows`"
        )
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    if any("." in part for part in parts):
        raise CommandRefused(f"{path} can't be imported: a module's name has no dots; rename it")
    _make_importable(root)
    module = _import(".".join(parts), name)
    if module.__file__ is None or Path(module.__file__).resolve() != path.resolve():
        raise CommandRefused(
            f"{path} would be imported as {module.__name__!r}, which is another module "
            f"({module.__file__ or 'a part of Python'}): rename it"
        )
    return module


def _import(module: str, asked: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise CommandRefused(
                f"there is no module {asked!r} in {Path.cwd()} or among what is installed: "
                "name it as in an import, or by its file"
            ) from None
        raise _failed(asked, error) from error
    except SystemExit as error:
        raise CommandRefused(
            f'importing {asked} ends the program: put what it runs under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        raise _failed(asked, error) from error


def _failed(asked: str, error: Exception) -> CommandRefused:
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return CommandRefused(f"importing {asked} failed: {told}")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", OURS)) and frame.filename != importlib.__file__
    ]
    where = f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return CommandRefused(f"importing {asked} failed{where}: {told}")


def _make_importable(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
