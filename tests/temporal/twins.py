"""The same source for both: `flows` as it is, and with ``temporalio`` in the place of ``durable``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from tests.temporal import flows

NAME = "tests.temporal.flows_of_temporal"


def of_temporal() -> ModuleType:
    """`flows` as a module that uses the Temporal Python SDK."""
    if NAME not in sys.modules:
        source = Path(flows.__file__).read_text().replace("from durable", "from temporalio")
        module = ModuleType(NAME)
        sys.modules[NAME] = module  # its annotations are looked up there
        exec(compile(source, flows.__file__, "exec"), module.__dict__)
    return sys.modules[NAME]
