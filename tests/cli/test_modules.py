"""What a module named on the command line gives a worker to run."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest

from durable import activity
from durable.cli.modules import collect
from durable.cli.refusal import CommandRefused
from durable.common import RawValue
from durable.converter import DataConverter
from tests.engine.codecs import converter


@activity.defn
class Shout:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, text: str) -> str:
        return text.upper() + self.mark

    @activity.defn
    def whisper(self, text: str) -> str:
        return text.lower() + self.mark


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None: ...


class Answering:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked for {name}")


def module(**names: object) -> ModuleType:
    made = ModuleType("flows")
    vars(made).update(names)
    return made


def test_objects_of_callable_classes_and_bound_methods_are_activities() -> None:
    shout = Shout("!")
    flows = module(shout=shout, whisper=shout.whisper, Shout=Shout, anything=anything, other=Answering())
    assert collect([flows]).activities == {"Shout": shout, "whisper": shout.whisper, "": anything}


def test_a_class_alone_is_no_activity() -> None:
    with pytest.raises(CommandRefused, match="has no workflow and no activity"):
        collect([module(Shout=Shout)])


def test_a_modules_data_converter_is_the_one_of_all() -> None:
    one, plain = module(anything=anything, data_converter=(own := converter())), module(anything=anything)
    assert collect([one, plain]).data_converter is own
    assert collect([plain]).data_converter is DataConverter.default


def test_two_data_converters_are_refused() -> None:
    two = [module(anything=anything, data_converter=converter(), __name__=name) for name in ("one", "two")]
    with pytest.raises(CommandRefused, match="one, two each have a data_converter, and they differ"):
        collect(two)
