"""The same source for both: `flows` as it is, and with ``temporalio`` in the place of ``durable``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from tests.temporal import flows


def of_temporal(ours: ModuleType = flows) -> ModuleType:
    """`flows`, or another module of its kind, as one that uses the Temporal Python SDK."""
    name = f"{ours.__name__}_of_temporal"
    if name not in sys.modules:
        assert ours.__file__ is not None
        source = Path(ours.__file__).read_text().replace("from durable", "from temporalio")
        module = ModuleType(name)
        sys.modules[name] = module  # its annotations are looked up there
        exec(compile(source, ours.__file__, "exec"), module.__dict__)
    return sys.modules[name]
