"""What the tests of the stores share."""

from __future__ import annotations

import pytest

from tests.history.worlds import ClockedHost


@pytest.fixture
def host() -> ClockedHost:
    """A clock that a test moves."""
    return ClockedHost()
