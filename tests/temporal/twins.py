"""The same source for both: `flows` as it is, and with ``temporalio`` in the place of ``durable``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from tests.temporal import flows


def of_temporal(source: ModuleType = flows) -> ModuleType:
    """`flows`, or another module, as one that uses the Temporal Python SDK."""
    name = f"{source.__name__}_of_temporal"
    if name not in sys.modules:
        assert source.__file__ is not None
        text = Path(source.__file__).read_text().replace("from durable", "from temporalio")
        module = ModuleType(name)
        sys.modules[name] = module  # its annotations are looked up there
        exec(compile(text, source.__file__, "exec"), module.__dict__)
    return sys.modules[name]
