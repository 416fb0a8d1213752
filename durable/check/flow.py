"""Pure: faults in what workflow code waits for, and in what order it does things."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

from durable.check.rules import AWAITABLE, LOCKS
from durable.check.scope import Scope, awaits, inside

Fault = tuple[ast.expr | ast.stmt, str, str]
_EXITS = (ast.Break, ast.Return, ast.Raise)
_ANY_ORDER = {"sorted", "sum", "min", "max", "any", "all", "len", "set", "frozenset", "Counter"}
_STARTING = ("create_task", "ensure_future", "start_")
_ORDERING = {"builtins.list", "builtins.tuple", "builtins.enumerate", "builtins.iter", "builtins.zip", "builtins.next"}


def faults_of_flow(nodes: Sequence[ast.AST], scope: Scope) -> Iterator[Fault]:
    in_any_order = {id(each) for node in nodes for each in _in_any_order(node, scope)}
    unordered = {name for node in nodes for name in _loses_order(node)}
    for node in nodes:
        if id(node) in in_any_order:
            continue
        match node:
            case ast.Try() | ast.TryStar():
                yield from _swallowed(node, scope)
            case ast.With(items=items):
                yield from _blocked(node, items, scope)
            case ast.While(test=test):
                if _is_busy(node, scope):
                    yield node, "DUR302", f"while {ast.unparse(test)}"
            case ast.Expr(value=ast.Call() as call):
                if _is_forgotten(call, scope):
                    yield node, "DUR303", f"{ast.unparse(call.func)}()"
            case ast.For(iter=iterated) if scope.is_unordered(iterated) and _keeps_order(node, unordered):
                yield iterated, "DUR201", f"for … in {ast.unparse(iterated)}"
            case ast.ListComp(generators=generators):
                for each in generators:
                    if scope.is_unordered(each.iter):
                        yield each.iter, "DUR201", ast.unparse(node)
            case ast.Call():
                yield from _ordered(node, scope)
            case _:
                pass


def _swallowed(node: ast.Try | ast.TryStar, scope: Scope) -> Iterator[Fault]:
    if not awaits(*node.body):
        return
    for handler in node.handlers:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if any(kind is None or scope.path(kind) == "builtins.BaseException" for kind in kinds):
            if not any(isinstance(each, ast.Raise) for each in inside(handler)):
                yield (
                    _at(handler),
                    "DUR301",
                    "except" if handler.type is None else f"except {ast.unparse(handler.type)}",
                )
            return


def _at(handler: ast.ExceptHandler) -> ast.stmt:
    """A handler is no statement of its own; this one stands where it does."""
    return ast.copy_location(ast.Pass(), handler)


def _blocked(node: ast.With, items: Sequence[ast.withitem], scope: Scope) -> Iterator[Fault]:
    for item in items:
        path = scope.path(item.context_expr)
        if path in LOCKS:
            yield item.context_expr, "DUR112", f"with {ast.unparse(item.context_expr)}"
        elif path == "contextlib.suppress" and isinstance(item.context_expr, ast.Call) and awaits(*node.body):
            if any(scope.path(each) == "builtins.BaseException" for each in item.context_expr.args):
                yield item.context_expr, "DUR301", ast.unparse(item.context_expr)


def _is_busy(node: ast.While, scope: Scope) -> bool:
    body = [each for statement in node.body for each in (statement, *inside(statement))]
    if awaits(node.test, *node.body) or any(isinstance(each, ast.Yield | ast.YieldFrom) for each in body):
        return False
    for_ever = isinstance(node.test, ast.Constant) and bool(node.test.value)
    if for_ever and not any(isinstance(each, _EXITS) for each in body):
        return True
    if any(isinstance(each, ast.Return | ast.Raise) for each in node.body):
        return False
    return not any(_changes(each, scope) for each in [*body, node.test, *inside(node.test)])


def _changes(node: ast.AST, scope: Scope) -> bool:
    """May this make the loop end? What `workflow` tells stays the same until the code yields."""
    if isinstance(node, ast.Call):
        return not scope.path(node.func).startswith("durable.workflow.")
    return isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.Delete)


def _keeps_order(loop: ast.For, unordered: Collection[str]) -> bool:
    """Does a command, or a list that is not one of those sorted later, get the order of the loop?"""
    if awaits(*loop.body):
        return True
    calls = [each for statement in loop.body for each in inside(statement) if isinstance(each, ast.Call)]
    if any(isinstance(each.func, ast.Attribute) and each.func.attr.startswith(_STARTING) for each in calls):
        return True
    for each in (each for statement in loop.body for each in (statement, *inside(statement))):
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "put_nowait")):
                if name not in unordered:
                    return True
            case _:
                pass
    return False


def _loses_order(node: ast.AST) -> Sequence[str]:
    """The list that is sorted here, or used where its order makes no difference."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="sort")):
            return [name]
        case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=name), *_]) if function in _ANY_ORDER:
            return [name]
        case _:
            return ()


def _in_any_order(node: ast.AST, scope: Scope) -> Sequence[ast.AST]:
    """The arguments of a call to which their order makes no difference."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=args) if name in _ANY_ORDER and not scope.is_local(name):
            return args
        case _:
            return ()


def _is_forgotten(call: ast.Call, scope: Scope) -> bool:
    """A coroutine, or an activity's call, that is a statement by itself."""
    path = scope.path(call.func)
    if path in AWAITABLE:
        return True
    found = scope.program.find(path)
    if not isinstance(found, tuple):
        return False
    module, function, _ = found
    if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in inside(function)):
        return False
    is_activity = "durable.activity.defn" in scope.program.decorators(module, function)
    return is_activity or isinstance(function, ast.AsyncFunctionDef)


def _ordered(call: ast.Call, scope: Scope) -> Iterator[Fault]:
    path = scope.path(call.func)
    joins = isinstance(call.func, ast.Attribute) and call.func.attr == "join" and not path
    pops = isinstance(call.func, ast.Attribute) and call.func.attr == "pop" and not call.args
    if pops and isinstance(call.func, ast.Attribute) and scope.is_unordered(call.func.value):
        yield call, "DUR201", ast.unparse(call)
    if path in _ORDERING or joins:
        for argument in call.args:
            if _is_of_set(argument, scope):
                yield argument, "DUR201", ast.unparse(call)
    for argument in call.args:
        if isinstance(argument, ast.Starred) and _is_of_set(argument.value, scope):
            yield argument, "DUR201", ast.unparse(call)
    if path == "asyncio.as_completed" and call.args and _makes_coroutines(call.args[0], scope):
        yield call, "DUR206", "asyncio.as_completed()"


def _is_of_set(node: ast.expr, scope: Scope) -> bool:
    """Is this a set, or made of one in its order?"""
    if isinstance(node, ast.GeneratorExp):
        return any(scope.is_unordered(each.iter) for each in node.generators)
    return scope.is_unordered(node)


def _makes_coroutines(argument: ast.expr, scope: Scope) -> bool:
    match argument:
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            made = elements
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element) | ast.SetComp(elt=element):
            made = [element]
        case _:
            return False
    return any(isinstance(each, ast.Call) and _is_forgotten(each, scope) for each in made)
