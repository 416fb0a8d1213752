"""Which form of the tests is run: the short one, `make test`, or the long one."""

from __future__ import annotations

import pytest


def is_short(config: pytest.Config) -> bool:
    return config.option.markexpr == "not all"
