"""Pure: the modules of a program as their sources tell: what each name of theirs stands for."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from durable.check.rules import NAMES

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BUILTINS = frozenset(dir(builtins))


class Unreadable(Exception):
    """A source is no Python, or is nested too deeply."""


@dataclass
class Class:
    """A class: its methods by name, the attributes of its body, and what its instances' attributes are made of."""

    node: ast.ClassDef
    module: Module
    name: str
    methods: dict[str, Function] = field(default_factory=dict[str, Function])
    body: dict[str, ast.expr] = field(default_factory=dict[str, ast.expr])
    attributes: dict[str, list[ast.expr]] = field(default_factory=dict[str, list[ast.expr]])
    annotations: dict[str, ast.expr] = field(default_factory=dict[str, ast.expr])

    @property
    def path(self) -> str:
        return f"{self.module.name}.{self.name}"


@dataclass
class Module:
    """One source file. ``name`` is its path with dots; ``aliases`` are its imports, by local name.

    ``stars`` are the modules of which it imports all; ``nested`` are the definitions inside functions and classes, each
    with the module as it is seen there.
    """

    path: str
    name: str
    lines: list[str]
    tree: ast.Module
    is_package: bool = False
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    classes: dict[str, Class] = field(default_factory=dict[str, Class])
    variables: dict[str, list[ast.expr]] = field(default_factory=dict[str, list[ast.expr]])
    stars: list[str] = field(default_factory=list[str])
    nested: list[tuple[Module, Function | Class]] = field(default_factory=list["tuple[Module, Function | Class]"])

    @staticmethod
    def parse(path: str, source: str) -> Module:
        """Raises `Unreadable` when it is no Python, or when Python's parser gives up."""
        parts = [part for part in path.replace("\\", "/").removesuffix(".py").split("/") if part not in ("", ".")]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        try:
            tree = ast.parse(source, path)
        except (SyntaxError, ValueError) as error:  # ValueError: there is a NUL in it
            raise Unreadable(f"{path} is no Python: {error}") from error
        except (RecursionError, MemoryError) as error:
            raise too_deep(path) from error
        lines = re.split(r"\r\n|\r|\n", source)  # as the parser counts them: str.splitlines() knows more ends of lines
        module = Module(path, name, lines, tree, is_package)
        for statement in _flat(module.tree.body):
            module._take(statement)
        module.nested.extend(module._nested())
        return module

    def _nested(self) -> Iterator[tuple[Module, Function | Class]]:
        """A nested class is none of the module's names; it is kept under its name and place, to find its methods."""
        waiting: list[tuple[ast.AST, Module]] = [(self.tree, self)]
        while waiting:
            node, seen = waiting.pop()
            for each in ast.iter_child_nodes(node):
                if isinstance(each, Function | ast.ClassDef) and not self._is_top(each):
                    if isinstance(each, ast.ClassDef):
                        name = f"{each.name}@{each.lineno}:{each.col_offset}"
                        self.classes[name] = cls = _class(each, seen, name)
                        yield seen, cls
                    else:
                        yield seen, each
                inner = self._within(each) if isinstance(each, Function) and seen is self else seen
                waiting.append((each, inner))

    def _is_top(self, node: Function | ast.ClassDef) -> bool:
        if isinstance(node, ast.ClassDef):
            return (cls := self.classes.get(node.name)) is not None and cls.node is node
        return self.functions.get(node.name) is node

    def _within(self, function: Function) -> Module:
        """The module as it is seen inside a function: imports there add names, other names hide its own."""
        found: dict[str, str] = {}
        hidden = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
        waiting: list[ast.AST] = [*function.body]
        while waiting:
            node = waiting.pop()
            match node:
                case ast.Import() | ast.ImportFrom():
                    found.update(self.imported(node))
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    hidden.add(name)
                    continue
                case ast.Name(id=name, ctx=ast.Store()):
                    hidden.add(name)
                case _:
                    pass
            waiting.extend(ast.iter_child_nodes(node))
        return replace(self, aliases={**self.aliases, **dict.fromkeys(hidden, ""), **found})

    def _take(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Import() | ast.ImportFrom():
                imported = self.imported(statement)
                if (star := imported.pop("*", None)) is not None:
                    self.stars.append(star.removesuffix(".*"))
                self.aliases.update(imported)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.functions[statement.name] = statement
            case ast.ClassDef():
                self.classes[statement.name] = _class(statement, self, statement.name)
            case _:
                for name, value in assigned(statement):
                    self.variables.setdefault(name, []).append(value)

    def imported(self, statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
        """The local names of an import, and the dotted names that they stand for. Temporal's names are ours."""
        if isinstance(statement, ast.Import):
            found = {
                each.asname or each.name.partition(".")[0]: each.name if each.asname else each.name.partition(".")[0]
                for each in statement.names
            }
        else:
            base = statement.module or ""
            if statement.level:
                parts = self.name.split(".")
                parts = parts[: len(parts) - statement.level + self.is_package]
                base = ".".join([*parts, *([base] if base else [])])
            found = {each.asname or each.name: f"{base}.{each.name}" for each in statement.names}
        return {name: _as_ours(path) for name, path in found.items()}


class Program:
    """All modules, and the way from a dotted name to what it stands for."""

    def __init__(self, sources: Mapping[str, str], unreadable: Callable[[Unreadable], None]) -> None:
        self.modules: list[Module] = []
        for path, source in sources.items():
            try:
                self.modules.append(Module.parse(path, source))
            except Unreadable as error:
                unreadable(error)
        self._by_name = {module.name: module for module in self.modules}
        self._by_last: dict[str, list[Module]] = {}
        for module in self.modules:
            self._by_last.setdefault(module.name.rpartition(".")[2], []).append(module)

    def is_module(self, path: str) -> bool:
        """Is this the dotted name of one of its modules?"""
        module, rest = self._split(path)
        return module is not None and not rest

    def find(self, path: str, depth: int = 8) -> tuple[Module, Function, Class | None] | Class | None:
        """The function (with its class), or the class, of this dotted name; None when the program has none."""
        module, rest = self._split(path)
        if module is None or not rest or not depth:
            return None
        name, _, member = rest.partition(".")
        if name in module.functions and not member:
            return module, module.functions[name], None
        if (cls := module.classes.get(name)) is not None:
            return cls if not member else self.method(cls, member)
        if name in module.aliases:
            return self.find(".".join([module.aliases[name], *([member] if member else [])]), depth - 1)
        return None

    def method(self, cls: Class, name: str) -> tuple[Module, Function, Class | None] | None:
        """A method of a class, or of its bases in the program; with the class whose ``self`` it gets."""
        for each in self.lineage(cls):
            if name in each.methods:
                return each.module, each.methods[name], cls
        return None

    def lineage(self, cls: Class, depth: int = 8) -> Iterator[Class]:
        """The class, then its bases, as far as they are in the program."""
        yield cls
        for base in cls.node.bases if depth else ():
            found = self.find(self.name_in(cls.module, base))
            if isinstance(found, Class):
                yield from self.lineage(found, depth - 1)

    def decorators(self, module: Module, node: Function | ast.ClassDef) -> set[str]:
        """The dotted names of the decorators; of a decorator of the program's own, of what that function calls, too."""
        found: set[str] = set()
        for decorator in node.decorator_list:
            path = self.name_in(module, decorator)
            found.add(path)
            if (variable := self.variable(path)) is not None:
                found.update(self.name_in(variable[0], value) for value in variable[1])
            own = self.find(path)
            if isinstance(own, tuple):
                found.update(self.name_in(own[0], each.func) for each in ast.walk(own[1]) if isinstance(each, ast.Call))
        return found

    def variable(self, path: str) -> tuple[Module, list[ast.expr]] | None:
        """What a module's variable is made of; None when there is none of this dotted name."""
        module, name = self._split(path)
        return (module, module.variables[name]) if module is not None and name in module.variables else None

    def name_in(self, module: Module, expression: ast.expr) -> str:
        """The dotted name of an expression at the top level of a module; "" when it has none."""
        match expression:
            case ast.Name(id=name):
                if name in module.aliases:
                    return module.aliases[name]
                if name in module.functions or name in module.classes or name in module.variables:
                    return f"{module.name}.{name}"
                return self._starred(module, name) or (f"builtins.{name}" if name in _BUILTINS else "")
            case ast.Attribute(value=value, attr=attribute):
                base = self.name_in(module, value)
                return _as_ours(f"{base}.{attribute}") if base else ""
            case ast.Call(func=function):
                return self.name_in(module, function)
            case ast.Subscript(value=value):
                return self.name_in(module, value)
            case ast.Constant(value=str(text)):
                return self.name_in(module, _parsed(text))
            case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
                return self.name_in(module, left)
            case _:
                return ""

    def _starred(self, module: Module, name: str) -> str:
        """The dotted name that an ``import *`` gives a name; of several, of one known to have it."""
        paths = [f"{star}.{name}" for star in reversed(module.stars)]
        for path in paths:
            if path in NAMES or self.find(path) is not None or self.variable(path) is not None:
                return path
        return paths[0] if len(paths) == 1 and name not in _BUILTINS else ""

    def _split(self, path: str) -> tuple[Module | None, str]:
        """The module that a dotted name begins with, and the rest."""
        if path.partition(".")[0] in sys.stdlib_module_names and path not in self._by_name:
            return None, ""
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            found = self._by_name.get(name)
            if found is None:
                ends = [each for each in self._by_last.get(parts[end - 1], ()) if f".{each.name}".endswith(f".{name}")]
                found = ends[0] if ends else None
            if found is not None:
                return found, ".".join(parts[end:])
        return None, ""


def assigned(statement: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement (or a walrus) binds to one value each."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            yield name, value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.With(items=items) | ast.AsyncWith(items=items):
            for item in items:
                if isinstance(item.optional_vars, ast.Name):
                    yield item.optional_vars.id, item.context_expr
        case _:
            pass


def _class(node: ast.ClassDef, module: Module, name: str) -> Class:
    cls = Class(node, module, name)
    for statement in _flat(node.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            cls.methods[statement.name] = statement
            for each in ast.walk(statement):
                _note_attribute(cls, each)
        else:
            cls.body.update(assigned(statement))
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                cls.annotations[statement.target.id] = statement.annotation
    return cls


def _note_attribute(cls: Class, node: ast.AST) -> None:
    targets: Iterable[ast.expr] = ()
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        match target:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                if node.value is not None:
                    cls.attributes.setdefault(name, []).append(node.value)
                if isinstance(node, ast.AnnAssign):
                    cls.annotations[name] = node.annotation
            case _:
                pass


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those inside its ifs, tries, withs, loops and matches."""
    waiting: list[ast.AST] = list(reversed(list(body)))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, Function | ast.ClassDef | ast.expr):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _as_ours(path: str) -> str:
    return f"durable{path.removeprefix('temporalio')}" if path.startswith("temporalio.") else path


def _parsed(annotation: str) -> ast.expr:
    try:
        return ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Constant(value=None)


def too_deep(path: str) -> Unreadable:
    return Unreadable(f"{path} is nested too deeply to be read: split its longest expressions")
