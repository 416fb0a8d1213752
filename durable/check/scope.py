"""Pure: what names stand for inside one function: dotted names of things and of what they are instances of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from durable.check.program import Class, Module, Program, assigned
from durable.check.rules import NAMES, rule_of

_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference", "copy"}
_SET_TYPES = {"set", "frozenset", "Set", "AbstractSet", "FrozenSet", "MutableSet"}
_ORDERED = (int, float, complex, bool, type(None))
_DEPTH = 12


class Scope:
    """The names of a function, and of what lies inside it. A name that has several values stands for nothing."""

    def __init__(self, program: Program, module: Module, function: ast.AST, cls: Class | None) -> None:
        self.program = program
        self.module = module
        self.cls = cls
        self._aliases: dict[str, str] = {}
        self._values: dict[str, list[ast.expr]] = {}
        self._hints: dict[str, ast.expr] = {}
        self._opaque: set[str] = set()
        self.globals: set[str] = set()
        for node in ast.walk(function):
            self._note(node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node is not function:
                self._opaque.add(node.name)

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._aliases.update(self.module.imported(node))
            case ast.Global(names=names):
                self.globals.update(names)
            case ast.arg(arg=name, annotation=annotation):
                self._opaque.add(name)
                if annotation is not None:
                    self._hints[name] = annotation
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.MatchAs(name=str(name)):
                self._opaque.add(name)
            case ast.ExceptHandler(name=str(name)):
                self._opaque.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                self._hints[name] = annotation
            case _:
                pass
        for name, value in assigned(node):
            self._values.setdefault(name, []).append(value)

    def is_local(self, name: str) -> bool:
        return name in self._opaque and name not in self.globals

    def path(self, node: ast.expr, depth: int = _DEPTH) -> str:
        """The dotted name of what this is, or is an instance of; "" when nobody knows."""
        if not depth:
            return ""
        match node:
            case ast.Name(id=name):
                return self._name(name, depth - 1)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if self.cls is not None:
                return self._of_self(self.cls, name, depth - 1)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if self.cls is not None:
                bases = list(self.program.lineage(self.cls))[1:]
                return next((f"{each.path}.{name}" for each in bases if name in each.methods), "")
            case ast.Attribute(value=value, attr=name):
                return self._attribute(value, name, depth - 1)
            case ast.Call(func=function):
                made = self.path(function, depth - 1)
                return f"{made}()" if made in NAMES else made
            case ast.Await(value=value):
                return self.path(value, depth - 1)
            case ast.BinOp(left=left, op=ast.Div()):
                return self.path(left, depth - 1)
            case _:
                return ""

    def _name(self, name: str, depth: int) -> str:
        if name in self._aliases:
            return self._aliases[name]
        if self.is_local(name):
            if name in self._hints:
                return self._hinted(self._hints[name])
            values = self._values.get(name, [])
            return self._local(values[0], depth) if len(values) == 1 else ""
        return self._instance(self.program.name_in(self.module, ast.Name(id=name)), depth)

    def _local(self, value: ast.expr, depth: int) -> str:
        """Nothing, of what is a finding where it is made: once is enough. Of a call, only a class tells its result."""
        path = self.path(value, depth)
        made = value.value if isinstance(value, ast.Await) else value
        if not isinstance(made, ast.Call):
            return "" if path in NAMES else path
        is_told = path.endswith("()") or rule_of(path, arguments=True) is not None
        return "" if is_told or not path.rpartition(".")[2][:1].isupper() else path

    def _attribute(self, value: ast.expr, name: str, depth: int) -> str:
        base = self.path(value, depth)
        if base == "pathlib.Path" and name in ("parent", "joinpath", "with_name", "with_suffix"):
            return base
        return self._instance(f"{base}.{name}", depth) if base else ""

    def _instance(self, path: str, depth: int) -> str:
        """Of a module's variable, what its value is; else the name itself."""
        found = self.program.variable(path) if depth else None
        if found is None or len(found[1]) != 1:
            return path
        module, (value,) = found
        return Scope(self.program, module, ast.Pass(), None).path(value, depth - 1) or path

    def _of_self(self, cls: Class, name: str, depth: int) -> str:
        if self.program.method(cls, name) is not None:
            return f"{cls.path}.{name}"
        for each in self.program.lineage(cls):
            if name in each.annotations:
                return self._hinted(each.annotations[name], each.module)
            values = each.attributes.get(name) or ([each.body[name]] if name in each.body else [])
            if len(values) == 1:
                return Scope(self.program, each.module, ast.Pass(), None).path(values[0], depth)
        return f"{cls.path}.{name}"

    def _hinted(self, annotation: ast.expr, module: Module | None = None) -> str:
        path = self.program.name_in(module or self.module, annotation)
        return path if not path.startswith(("builtins.", "typing.")) else ""

    # -- sets

    def is_unordered(self, node: ast.expr, depth: int = _DEPTH) -> bool:
        """Is this a set whose order may differ between processes? Numbers and tasks have the same order everywhere."""
        if not depth:
            return False
        match node:
            case ast.Set(elts=elements):
                return not all(self._is_ordered(each) for each in elements)
            case ast.SetComp(elt=element):
                return not self._is_ordered(element)
            case ast.Call(func=ast.Name(id="set" | "frozenset" as name), args=args):
                return not self.is_local(name) and self._holds_unordered(args)
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _SET_METHODS:
                return self.is_unordered(value, depth - 1)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self.is_unordered(left, depth - 1) or (
                    isinstance(node.op, ast.BitOr | ast.BitXor) and self.is_unordered(right, depth - 1)
                )
            case ast.Name(id=name):
                return self._is_set_name(name, depth)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self.cls is not None:
                return self._is_set_attribute(self.cls, name, depth)
            case _:
                return False

    def _is_set_name(self, name: str, depth: int) -> bool:
        if name in self._hints:
            return _is_set_hint(self._hints[name])
        if not self.is_local(name):
            found = self.program.variable(self.program.name_in(self.module, ast.Name(id=name)))
            values = found[1] if found is not None else []
        else:
            values = self._values.get(name, [])
        return bool(values) and all(self.is_unordered(value, depth - 1) for value in values)

    def _is_set_attribute(self, cls: Class, name: str, depth: int) -> bool:
        if name in cls.annotations:
            return _is_set_hint(cls.annotations[name])
        values = cls.attributes.get(name, [])
        return bool(values) and all(self.is_unordered(value, depth - 1) for value in values)

    def _holds_unordered(self, args: list[ast.expr]) -> bool:
        match args:
            case [ast.List(elts=elements) | ast.Tuple(elts=elements)]:
                return not all(self._is_ordered(each) for each in elements)
            case [ast.GeneratorExp(elt=element) | ast.ListComp(elt=element)]:
                return not self._is_ordered(element)
            case [ast.Call(func=ast.Name(id="range"))]:
                return False
            case _:
                return True

    def _is_ordered(self, element: ast.expr) -> bool:
        match element:
            case ast.Constant(value=value):
                return isinstance(value, _ORDERED)
            case ast.Call(func=ast.Name(id="int" | "len" | "round" | "ord")):
                return True
            case ast.Call(func=function):
                name = self.path(function).rpartition(".")[2]
                return name in ("create_task", "ensure_future") or name.startswith("start_")
            case ast.Tuple(elts=elements):
                return all(self._is_ordered(each) for each in elements)
            case _:
                return False


def _is_set_hint(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=item):
            ordered = isinstance(item, ast.Name) and item.id in ("int", "float", "bool")
            return (
                name in _SET_TYPES and not ordered and not re.search(r"\b(Task|Future|\w*Handle)\b", ast.unparse(item))
            )
        case ast.Name(id=name):
            return name in ("set", "frozenset")
        case _:
            return False


def inside(function: ast.AST) -> Iterator[ast.AST]:
    """What belongs to a body, but not to the functions defined in it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def awaits(*nodes: ast.AST) -> bool:
    """Does one of these wait for something?"""
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(each, waits) for node in nodes for each in (node, *inside(node)))
