"""The samples survive the death of their worker at every durable point, and replay, here and in other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples.conftest import SAMPLES
from tests.testing.pytests import Pytest

SOME = "hello or shipped or refused or first_decision or money"


@pytest.mark.parametrize(
    ("chosen", "count"), [pytest.param(SOME, 7, id="some"), pytest.param("", 11, marks=pytest.mark.all, id="all")]
)
def test_the_crash_sweep_and_the_replay_check_find_nothing_in_the_samples(
    chosen: str, count: int, tmp_path: Path
) -> None:
    path = f"pythonpath={SAMPLES.parent} {SAMPLES}"
    everything_checked = "error::pytest.PytestWarning"

    done = Pytest(tmp_path).again(
        str(SAMPLES.parent / "tests/samples/survival.py"),
        *("-k", chosen, "-o", path, "-W", everything_checked),
        fresh=True,
    )

    assert done.code == 0, done.output
    assert len(done.verdicts) == done.output.count("survived the death of its worker at each of") == count, done.output
    assert "Task was destroyed" not in done.output  # what a dead worker had in memory ends with its test
