"""What all tests share: a PostgreSQL, and how much hypothesis and the garbage collector do."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from tests.pooler import pooled_postgres as pooled_postgres
from tests.postgres import own_postgres_server as own_postgres_server
from tests.postgres import postgres as postgres
from tests.postgres import postgres_server as postgres_server
from tests.short import is_short

# No time limit per example, for the machine may be busy.
settings.register_profile("long", deadline=None)
settings.register_profile("short", deadline=None, max_examples=30)


def pytest_configure(config: pytest.Config) -> None:
    """`make test` tries fewer examples of each property than `make test-all`."""
    settings.load_profile("short" if is_short(config) else "long")


def pytest_collection_finish() -> None:
    """Some thousand collected tests live to the end: a collector that looks at them each time takes longer than the
    tests that call it."""
    gc.collect()
    gc.freeze()
