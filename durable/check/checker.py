"""Pure: find the workflow code of a program, follow what it calls, and tell where it breaks a rule."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from durable.check.flow import faults_of_flow
from durable.check.program import Class, Function, Module, Program, Unreadable, too_deep
from durable.check.rules import METHODS, NAMES, ORDER, RULES, is_told_the_time, rule_of
from durable.check.scope import Scope
from durable.check.sharing import faults_of_class, faults_of_sharing

_OK = re.compile(r"#\s*durable:\s*ok\b\W*(\w.*)?$")
_DEFN = {"durable.workflow.defn", "durable.workflow.definition.defn"}
_ROOTS = {f"durable.workflow.{name}" for name in ("run", "signal", "query", "update", "init", "dynamic_config")}
_QUERY = "durable.workflow.query"
_INTERCEPTORS = ("WorkflowInboundInterceptor", "WorkflowOutboundInterceptor")
_LIFTED = "durable.workflow.unsafe.sandbox_unrestricted"
_ACTIVITY = "durable.activity.defn"
_VALUES_THAT_DIFFER = {"DUR101", "DUR103", "DUR104", "DUR111"}


class Finding(Struct, frozen=True, order=True):
    """Where workflow code breaks a rule: ``line`` from 1, ``column`` from 1; ``rule`` is a key of `RULES`.

    ``what`` is the source that does it, ``workflow`` the workflow that leads there first.
    """

    path: str
    line: int
    column: int
    rule: str
    what: str
    workflow: str

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do instead."""
        rule = RULES[self.rule]
        return f"{self.what} {rule.what}, in code of workflow {self.workflow}: {rule.instead}"


class _Root(Struct, frozen=True):
    """What leads to some code: the workflow's name, and whether the code may make commands."""

    workflow: str
    commands: bool = True


def _refuse(error: Unreadable) -> None:
    raise error


def check(
    sources: Mapping[str, str],
    rules: Collection[str] = frozenset(RULES),
    unreadable: Callable[[Unreadable], None] = _refuse,
) -> list[Finding]:
    """All findings of these rules in the program of these sources (by path), in order of path and line.

    A line that ends with ``# durable: ok`` and a reason has none. Raises `Unreadable` for a source that is no Python,
    or is nested too deeply; with ``unreadable``, that is called with the error instead, and the others are checked.
    """
    checker = _Checker(Program(sources, unreadable), unreadable)
    checker.check_all()
    return sorted(each for each in set(checker.findings) if each.rule in rules)


class _Checker:
    def __init__(self, program: Program, unreadable: Callable[[Unreadable], None]) -> None:
        self._program = program
        self._unreadable = unreadable
        self._too_deep: set[str] = set()
        self._lines = {module.path: module.lines for module in program.modules}
        self._seen: set[tuple[int, int, bool]] = set()
        self._waiting: deque[tuple[Module, Function, Class | None, _Root]] = deque()
        self._told_the_time: set[ast.expr] = set()
        self._reported: set[tuple[str, int, str]] = set()
        self.findings: list[Finding] = []

    def check_all(self) -> None:
        for module in self._program.modules:
            with self._reading(module):
                for function in module.functions.values():
                    self._look_at(module, function)
                for cls in module.classes.values():
                    self._look_at(cls.module, cls)
                for seen, nested in module.nested:
                    if isinstance(nested, Function):
                        self._look_at(seen, nested)
        while self._waiting:
            module, function, owner, root = self._waiting.popleft()
            key = (id(function), id(owner), root.commands)
            if key not in self._seen:
                self._seen.add(key)
                with self._reading(module):
                    self._function(module, function, owner, root)

    @contextmanager
    def _reading(self, module: Module) -> Generator[None]:
        try:
            yield
        except RecursionError as error:
            if module.path not in self._too_deep:
                self._too_deep.add(module.path)
                unreadable = too_deep(module.path)
                unreadable.__cause__ = error
                self._unreadable(unreadable)

    def _look_at(self, module: Module, defined: Function | Class) -> None:
        """Is this workflow code to begin with?"""
        if isinstance(defined, Function):
            if self._is(module, defined, _DEFN):
                self._waiting.append((module, defined, None, _Root(defined.name)))
        elif self._is(module, defined.node, _DEFN):
            self._begin(defined)
        elif any(ast.unparse(base).endswith(_INTERCEPTORS) for base in defined.node.bases):
            root = _Root(defined.node.name)
            self._waiting.extend((module, each, defined, root) for each in defined.methods.values())

    def _begin(self, cls: Class) -> None:
        """The methods of a workflow class that the engine calls, inherited ones too."""
        for node, what in faults_of_class(self._program, cls):
            self._report(cls.module, node, "DUR204", what, _Root(cls.node.name))
        for each in self._program.lineage(cls):
            for name, method in each.methods.items():
                validates = any(isinstance(d, ast.Attribute) and d.attr == "validator" for d in method.decorator_list)
                if name == "__init__" or validates or self._is(each.module, method, _ROOTS):
                    root = _Root(cls.node.name, commands=not (validates or self._is(each.module, method, {_QUERY})))
                    self._waiting.append((each.module, method, cls, root))

    def _is(self, module: Module, node: Function | ast.ClassDef, decorators: Collection[str]) -> bool:
        return not self._program.decorators(module, node).isdisjoint(decorators)

    # -- one function

    def _function(self, module: Module, function: Function, cls: Class | None, root: _Root) -> None:
        scope = Scope(self._program, module, function, cls)
        for default in [*function.args.defaults, *filter(None, function.args.kw_defaults)]:
            for node, rule, what in self._mentions(default, Scope(self._program, module, ast.Pass(), None)):
                if rule in _VALUES_THAT_DIFFER:
                    self._report(module, node, "DUR205", what, root)
        self._waiting.extend((*wrapper, None, root) for wrapper in self._wrappers(module, function))
        nodes = list(_code(function.body, scope))
        for each in nodes:
            if isinstance(each, ast.expr):
                for mention, rule, what in self._mention(each, scope):
                    self._report(module, mention, rule, what, root)
                self._follow(each, scope, root)
        for fault, rule, what in (*faults_of_flow(nodes, scope), *faults_of_sharing(nodes, scope)):
            self._report(module, fault, rule, what, root)

    def _wrappers(self, module: Module, function: Function) -> Iterator[tuple[Module, Function]]:
        """What the program's own decorators put in the place of a function: what is defined innermost in them."""
        for decorator in function.decorator_list:
            found = self._program.find(self._program.name_in(module, decorator))
            if isinstance(found, tuple):
                for each in ast.walk(found[1]):
                    defined = [one for one in ast.walk(each) if isinstance(one, Function) and one is not each]
                    if isinstance(each, Function) and each is not found[1] and not defined:
                        yield found[0], each

    def _mentions(self, root: ast.expr, scope: Scope) -> Iterator[tuple[ast.expr, str, str]]:
        for node in ast.walk(root):
            if isinstance(node, ast.expr):
                yield from self._mention(node, scope)

    def _mention(self, node: ast.expr, scope: Scope) -> Iterator[tuple[ast.expr, str, str]]:
        match node:
            case ast.Call(func=function):
                path = scope.path(function)
                if is_told_the_time(path, node):
                    self._told_the_time.add(function)
                    return
                rule = rule_of(path, arguments=bool(node.args or node.keywords))
                if rule is None and isinstance(function, ast.Attribute):
                    rule = METHODS.get(function.attr)
                if rule is not None and self._program.find(path) is None:
                    yield node, rule, f"{ast.unparse(function)}()"
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                path = scope.path(node)
                if path in NAMES and node not in self._told_the_time:
                    yield node, NAMES[path], ast.unparse(node)
            case _:
                pass

    def _follow(self, node: ast.expr, scope: Scope, root: _Root) -> None:
        if isinstance(node, ast.Call):
            made = self._program.find(scope.path(node.func))
            if isinstance(made, Class) and not self._is(made.module, made.node, _DEFN):
                self._made(made, root)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found = self._program.find(scope.path(node))
            if isinstance(found, tuple) and not self._is(found[0], found[1], {_ACTIVITY, *_DEFN}):
                self._waiting.append((*found, root))

    def _made(self, cls: Class, root: _Root) -> None:
        """What making an object of a class runs: its constructor, and the factories of its fields."""
        for name in ("__init__", "__post_init__"):
            if (found := self._program.method(cls, name)) is not None:
                self._waiting.append((found[0], found[1], found[2], root))
        scope = Scope(self._program, cls.module, ast.Pass(), None)
        for value in cls.body.values():
            keywords = value.keywords if isinstance(value, ast.Call) else []
            factories = [each.value for each in keywords if each.arg in ("default_factory", "factory")]
            for factory in factories:
                for node, rule, what in self._mentions(factory, scope):
                    self._report(cls.module, node, rule, what, root)
            for node, rule, what in () if factories else self._mentions(value, scope):
                if rule in _VALUES_THAT_DIFFER:
                    self._report(cls.module, node, "DUR205", what, root)

    def _report(self, module: Module, node: ast.expr | ast.stmt, rule: str, what: str, root: _Root) -> None:
        if rule in ORDER and not root.commands:
            return
        lines = self._lines[module.path]
        if any(
            (found := _OK.search(lines[at - 1])) and found[1] for at in (node.lineno, node.end_lineno or node.lineno)
        ):
            return
        if len(what) > 60:
            what = f"{what[:57]}…"
        key = (module.path, node.lineno, rule)
        if key not in self._reported:
            self._reported.add(key)
            self.findings.append(Finding(*key[:2], node.col_offset + 1, rule, what, root.workflow))


def _code(body: list[ast.stmt], scope: Scope) -> Iterator[ast.AST]:
    """What is run of a body: no annotations, no decorators, no blocks that are for type checkers, or unrestricted."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                waiting.extend(reversed(node.orelse))
                continue
            case ast.With(items=items) if any(scope.path(item.context_expr) == _LIFTED for item in items):
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting.extend(reversed([*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]))
                yield node
                continue
            case ast.AnnAssign(target=target, value=value):
                yield node
                waiting.extend([target] if value is None else [value, target])
                continue
            case _:
                yield node
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))
