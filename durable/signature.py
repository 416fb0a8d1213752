"""A function's typed call: bind, encode, decode.

Positional and positional-or-keyword parameters are carried in order, as Temporal does. What has no position
(keyword-only parameters, ``**kwargs``) follows, each payload with its name in the metadata key ``durable-parameter``.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from durable.converter.data import DataConverter
from durable.history.values import Payload

PARAMETER_KEY = "durable-parameter"

_ATTRIBUTE = "__durable_signature__"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """What a function takes and returns. Make it with ``Signature.of``."""

    def __init__(self, fn: Callable[..., Any], *, skip_first: bool = False) -> None:
        """``skip_first`` leaves out ``self`` or ``cls``. Raises TypeError for what has no signature."""
        self.fn = fn
        self.name: str = getattr(fn, "__qualname__", None) or repr(fn)
        try:
            parameters = list(inspect.signature(fn).parameters.values())[1 if skip_first else 0 :]
        except ValueError as error:
            raise TypeError(f"{self.name} can't be called durably: {error}") from error
        self._signature = inspect.Signature(parameters)
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._names = tuple(p.name for p in positional)
        self._defaults = tuple(p.default for p in positional)
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._named = {p.name for p in named}
        self._named_required = tuple(p.name for p in named if p.default is p.empty)
        self._extra = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._known = self._named | {p.name for p in positional if p.kind is p.POSITIONAL_OR_KEYWORD}
        self._required = {p.name for p in (*positional, *named) if p.default is p.empty}
        self._least = sum(1 for p in positional if p.default is p.empty)
        self._most = sys.maxsize if self._rest else len(positional)

    @classmethod
    def of(cls, fn: Callable[..., Any], *, skip_first: bool = False) -> Signature:
        """The signature of a function, kept with the function."""
        kept: dict[bool, Signature] | None = getattr(fn, "__dict__", {}).get(_ATTRIBUTE)
        if kept is not None and (found := kept.get(skip_first)) is not None and found.fn is fn:
            return found  # functools.wraps copies __dict__: what it copied is another function's
        made = cls(fn, skip_first=skip_first)
        try:
            if kept is None or any(other.fn is not fn for other in kept.values()):
                setattr(fn, _ATTRIBUTE, {skip_first: made})
            else:
                kept[skip_first] = made
        except (AttributeError, TypeError):
            pass  # a bound method or a built-in keeps nothing
        return made

    @property
    def positional_count(self) -> int:
        """How many parameters are carried by position, ``*args`` apart."""
        return len(self._names)

    @property
    def positional_names(self) -> tuple[str, ...]:
        """The parameters carried by position, ``*args`` apart."""
        return self._names

    @property
    def takes_rest(self) -> bool:
        """Has it ``*args``?"""
        return self._rest is not None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two functions have in common that can be called alike, whatever their parameters are called."""
        kinds = [(p.kind, p.default is p.empty) for p in self._signature.parameters.values()]
        return (*kinds, *self.positional_hints)

    @functools.cached_property
    def _hints(self) -> Mapping[str, Any]:
        """Resolved at first use, when everything that annotations name is defined."""
        target: Any = self.fn
        while isinstance(target, functools.partial):
            target = target.func
        if not hasattr(target, "__annotations__") and not isinstance(target, type) and callable(target):
            target = type(target).__call__
        try:
            return typing.get_type_hints(target, include_extras=True)
        except NameError as error:
            raise TypeError(
                f"the annotations of {self.name} can't be resolved: {error}; define or import it where the module "
                "can see it at run time (not inside a function, not only `if TYPE_CHECKING`)"
            ) from error

    @functools.cached_property
    def positional_hints(self) -> tuple[Any, ...]:
        """The hints of the parameters carried by position; None for one without annotation."""
        return tuple(self._hints.get(name) for name in self._names)

    @functools.cached_property
    def return_hint(self) -> Any:
        """What the function says it returns; None when it says nothing."""
        return self._hints.get("return")

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str | None, Any]]:
        """The values to carry, those without a position with their names. Raises TypeError like a call would.

        A parameter left out before one that is given is filled with its default; those after the last are left to
        the function that is called.
        """
        if not kwargs and not self._named_required and self._least <= len(args) <= self._most:
            return [(None, value) for value in args]
        given = self._given(args, kwargs)
        rest: Sequence[Any] = given.get(self._rest, ()) if self._rest else ()
        count = max((index + 1 for index, name in enumerate(self._names) if name in given), default=0)
        bound: list[tuple[str | None, Any]] = [
            (None, given.get(name, default))
            for name, default in zip(self._names[:count], self._defaults[:count], strict=True)
        ]
        bound.extend((None, value) for value in rest)
        bound.extend((name, value) for name, value in given.items() if name in self._named)
        extra: Mapping[str, Any] = given.get(self._extra, {}) if self._extra else {}
        bound.extend(extra.items())
        return bound

    def parted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """What `bind` gives, for `encode_parted`: the values with a position, and those without by their names."""
        bound = self.bind(args, kwargs)
        return [value for name, value in bound if name is None], {name: value for name, value in bound if name}

    def completed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with the defaults of what it leaves out. Raises TypeError like a call would."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a call by parameter, without defaults. Raises TypeError for a wrong call."""
        if len(args) <= len(self._names) and self._known.issuperset(kwargs):
            given = {**dict(zip(self._names, args, strict=False)), **kwargs}
            if len(given) == len(args) + len(kwargs) and self._required.issubset(given):
                return given
        try:  # the general case, and the words for what is wrong; several times slower
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        for name in self._names:
            # CPython 3.13.0's bind lets a keyword of its name pass for a positional-only parameter.
            if name in self._required and name not in given:
                raise TypeError(f"{self.name}() missing a required argument: {name!r}")
        return given

    def encode(self, converter: DataConverter, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Payload]:
        """The payloads of a call. Raises TypeError for a wrong call, ConversionError (one too) for a wrong value."""
        if not kwargs and not self._named_required and self._least <= len(args) <= self._most:
            return converter.to_payloads(args, self._names)
        bound = self.bind(args, kwargs)
        labels = [name or self._label(index) for index, (name, _) in enumerate(bound)]
        payloads = converter.to_payloads([value for _, value in bound], labels)
        return [
            payload if name is None else _labelled(payload, name)
            for (name, _), payload in zip(bound, payloads, strict=True)
        ]

    def decode(self, converter: DataConverter, payloads: Sequence[Payload]) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with. Raises TypeError when it can't be called so, or a value can't be read."""
        for payload in payloads:
            if PARAMETER_KEY in payload.metadata:
                return self._decode_named(converter, payloads)
        if self._named_required or not self._least <= len(payloads) <= self._most:
            self._check(len(payloads), ())
        return self._decode_positional(converter, payloads), {}

    def _decode_positional(self, converter: DataConverter, payloads: Sequence[Payload]) -> list[Any]:
        hints = self.positional_hints
        if self._rest and len(payloads) > len(hints):
            hints += (self._hints.get(self._rest),) * (len(payloads) - len(hints))
        return converter.from_payloads(payloads, hints, self._names)

    def _decode_named(self, converter: DataConverter, payloads: Sequence[Payload]) -> tuple[list[Any], dict[str, Any]]:
        positional = [payload for payload in payloads if PARAMETER_KEY not in payload.metadata]
        labelled = [payload for payload in payloads if PARAMETER_KEY in payload.metadata]
        names = [payload.metadata[PARAMETER_KEY].decode() for payload in labelled]
        self._check(len(positional), names)
        fallback = self._hints.get(self._extra) if self._extra else None
        hints = [self._hints.get(name) if name in self._known else fallback for name in names]
        values = converter.from_payloads(labelled, hints, names)
        return self._decode_positional(converter, positional), dict(zip(names, values, strict=True))

    def _check(self, count: int, names: Sequence[str]) -> None:
        """Raise TypeError when a recorded call of ``count`` positional values and ``names`` does not fit."""
        missing = [name for name in (*self._names[count : self._least], *self._named_required) if name not in names]
        if missing:
            raise TypeError(
                f"{self.name}() can't take the recorded call, which has no value for {', '.join(map(repr, missing))}; "
                "a parameter that is new needs a default"
            )
        if count > self._most:
            raise TypeError(
                f"{self.name}() can't take the recorded call, of {count} positional values; it takes {self._most}"
            )
        for name in names:
            taken = name in self._known.intersection(self._names[:count])
            if taken or not (self._extra or name in self._known):
                why = "has two values" if taken else "it does not take"
                raise TypeError(f"{self.name}() can't take the recorded call: {name!r} {why}")

    def _label(self, index: int) -> str:
        if index < len(self._names):
            return self._names[index]
        return f"{self._rest}[{index - len(self._names)}]"


def encode_parted(
    converter: DataConverter, args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]
) -> list[Payload]:
    """The payloads of a call that is bound already. Raises ConversionError for a wrong value, by its name."""
    payloads = converter.to_payloads(args, names)
    named = zip(kwargs, converter.to_payloads(list(kwargs.values()), list(kwargs)), strict=True)
    return [*payloads, *(_labelled(payload, name) for name, payload in named)]


def _labelled(payload: Payload, name: str) -> Payload:
    return msgspec.structs.replace(payload, metadata={**payload.metadata, PARAMETER_KEY: name.encode()})
