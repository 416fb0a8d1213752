"""How often a process whose job is to be a worker looks for garbage."""

from __future__ import annotations

import gc

LOOKED_FOR_AFTER = 50_000
"""So many objects more than there were; 700 is Python's default, a few workflows' worth."""


def tune_garbage_collection() -> None:
    """Have Python look for garbage seldom, as ``durable worker`` does: for programs that do little else.

    A workflow that has ended leaves nothing that only the garbage collector finds, and what is loaded now stays:
    looking through all of it again and again takes a fifth of a busy worker's time. To be called once, when all is
    imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(LOOKED_FOR_AFTER)
