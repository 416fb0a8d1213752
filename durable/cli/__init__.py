"""The `durable` command: its entrance, which works without the packages that the command itself needs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDS = ("typer", "rich")


def main() -> None:
    """Run the command with the arguments of this process, and end it: 0 fine, 1 refused or failed, 2 wrong usage."""
    if any(find_spec(name) is None for name in NEEDS):
        sys.exit("the durable command needs two more packages; install them with: pip install 'durable[cli]'")
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding has no place for is shown as its escape, and is no error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    from durable.cli.commands import app

    app(prog_name="durable")
