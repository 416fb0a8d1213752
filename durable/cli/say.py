"""Words for the person: on stderr, apart from what a machine may read on stdout."""

from __future__ import annotations

import sys

from durable.cli import visible


def say(line: str) -> None:
    """One line, safe for a terminal."""
    print(visible.text(line), file=sys.stderr, flush=True)
