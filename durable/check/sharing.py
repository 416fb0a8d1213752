"""Pure: faults by which runs of one process share what each should have for itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from durable.check.program import Class, Program
from durable.check.scope import Scope

Fault = tuple[ast.expr | ast.stmt, str, str]
_CONTAINERS = {"list", "dict", "set", "bytearray", "defaultdict", "Counter", "OrderedDict", "deque", "count", "cycle"}
_CHANGES = set(
    "add append appendleft clear discard extend extendleft insert pop popitem popleft remove reverse rotate setdefault "
    "sort update subtract".split()
)


def faults_of_sharing(nodes: Sequence[ast.AST], scope: Scope) -> Iterator[Fault]:
    """Where code changes a variable, or what is in a variable, of a module or a class."""
    for node in nodes:
        match node:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                for target in targets:
                    yield from _stored(target, scope)
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                yield from _stored(target, scope)
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _CHANGES:
                if _is_shared(value, scope):
                    yield node, "DUR203", f"{ast.unparse(node.func)}()"
            case ast.Call(func=ast.Name(id="next"), args=[value, *_]) if _is_shared(value, scope):
                yield node, "DUR203", ast.unparse(node)
            case _:
                pass


def _stored(target: ast.expr, scope: Scope) -> Iterator[Fault]:
    match target:
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for each in elements:
                yield from _stored(each, scope)
        case ast.Name(id=name) if name in scope.globals:
            yield target, "DUR203", f"global {name}"
        case ast.Subscript(value=value) if _is_shared(value, scope):
            yield target, "DUR203", ast.unparse(target)
        case ast.Attribute(value=ast.Attribute(attr="__class__") | ast.Call(func=ast.Name(id="type"))):
            yield target, "DUR203", ast.unparse(target)
        case ast.Attribute(value=ast.Name(id=name) as value) if name != "self" and _is_module_or_class(value, scope):
            yield target, "DUR203", ast.unparse(target)
        case _:
            pass


def _is_module_or_class(node: ast.Name, scope: Scope) -> bool:
    if node.id == "cls":
        return True
    if scope.is_local(node.id):
        return False
    path = scope.program.name_in(scope.module, node)
    is_module = (
        any(path == each.name or each.name.endswith(f".{path}") for each in scope.program.modules) and path != ""
    )
    return is_module or isinstance(scope.program.find(path), Class)


def _is_shared(node: ast.expr, scope: Scope) -> bool:
    """Is this a module's variable that holds something changeable?"""
    if isinstance(node, ast.Name) and (scope.is_local(node.id) and node.id not in scope.globals):
        return False
    if not isinstance(node, ast.Name | ast.Attribute):
        return False
    found = scope.program.variable(scope.program.name_in(scope.module, node))
    return found is not None and any(_is_container(value) for value in found[1])


def _is_container(value: ast.expr) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in _CONTAINERS
        case _:
            return False


def faults_of_class(program: Program, cls: Class) -> Iterator[tuple[ast.expr, str]]:
    """The attributes of a workflow class that hold something changeable, which its methods change for all runs."""
    for name, value in cls.body.items():
        if not _is_container(value) or name in cls.attributes:
            continue
        if any(_changes(node, name) for method in cls.methods.values() for node in ast.walk(method)):
            yield value, f"{cls.node.name}.{name}"


def _changes(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr=attribute), attr=method)):
            return attribute == name and method in _CHANGES
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id="self"), attr=attribute), ctx=ast.Store() | ast.Del()):
            return attribute == name
        case ast.AugAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=attribute)):
            return attribute == name
        case _:
            return False
