"""What all tests share: no time limit per hypothesis example, because the machine may be busy with another test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("durable", deadline=None)
settings.load_profile("durable")
