"""What all tests share: a PostgreSQL, and no time limit per hypothesis example, for the machine may be busy."""

from __future__ import annotations

from hypothesis import settings

from tests.pooler import pooled_postgres as pooled_postgres
from tests.postgres import own_postgres_server as own_postgres_server
from tests.postgres import postgres as postgres
from tests.postgres import postgres_server as postgres_server

settings.register_profile("durable", deadline=None)
settings.load_profile("durable")
