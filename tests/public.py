"""What is public: the modules that users import from, their names, and what is said of each."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from inspect import getdoc, isclass, isroutine
from pathlib import Path
from types import ModuleType
from typing import Any


def below(package: str) -> Iterator[str]:
    """What programs import from in a package: one in it that shows names is one module, else it is looked into."""
    spec = find_spec(package)
    for found in pkgutil.iter_modules(spec.submodule_search_locations if spec else ()):
        name = f"{package}.{found.name}"
        if found.ispkg and not hasattr(import_module(name), "__all__"):
            yield from below(name)
        elif not found.name.startswith("_"):
            yield name


MODULES = [
    "durable",
    "durable.activity",
    "durable.client",
    "durable.common",
    "durable.converter",
    "durable.envconfig",
    "durable.exceptions",
    "durable.plugin",
    "durable.runtime",
    "durable.service",
    "durable.testing",
    "durable.testing.plugin",
    "durable.types",
    "durable.worker",
    "durable.worker.workflow_sandbox",
    "durable.workflow",
    *below("durable.api"),
    *below("durable.contrib"),
]


def names(module: ModuleType) -> list[str]:
    """Its ``__all__``, or else what it defines itself; without pytest's hooks, which pytest calls."""
    if shown := getattr(module, "__all__", None):
        return sorted(shown)
    return sorted(
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith(("_", "pytest_"))
        if isclass(value) or isroutine(value)
    )


def undocumented(module_name: str) -> Iterator[str]:
    """Public names, and the methods and properties of public classes, that nothing is said of."""
    module = import_module(module_name)
    for name in names(module):
        value = getattr(module, name)
        if not _own_doc(value) and not _said_beside(module_name, name):
            yield name
        if isclass(value):
            yield from (f"{name}.{member}" for member in _members(value) if not getdoc(getattr(value, member)))


def _own_doc(value: Any) -> str | None:
    """What a class, function or module says of itself; an instance has only what its class says."""
    if isclass(value):
        doc = vars(value).get("__doc__")
        return None if doc and doc.startswith(f"{value.__name__}(") else doc  # a dataclass's own is its signature
    return getdoc(value) if isroutine(value) or isinstance(value, ModuleType) else None


def _members(cls: type) -> Iterator[str]:
    for member, value in vars(cls).items():
        is_field = member in getattr(cls, "__dataclass_fields__", ())
        if not member.startswith("_") and not is_field and (isroutine(value) or isinstance(value, property)):
            yield member


def _said_beside(module_name: str, name: str) -> bool:
    """Whether a string follows the assignment, in the file that makes it."""
    spec = find_spec(module_name)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text()).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.ImportFrom(module=str(source), names=imported) if any(
                (alias.asname or alias.name) == name for alias in imported
            ):
                return _said_beside(source, name)
            case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                return isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            case _:
                pass
    return False
