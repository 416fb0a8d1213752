"""The engine, simulated: whatever goes wrong, what `durable.history` promises holds, in every seed."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import msgspec
import pytest

from durable.worker.replay import Run
from tests.simulation.__main__ import main
from tests.simulation.grammar import Author
from tests.simulation.host import Faults
from tests.simulation.plan import Plan
from tests.simulation.planted import messages_committed_twice
from tests.simulation.shrink import shrink
from tests.simulation.world import Broken, World, lived, simulate

SEEDS, AT_ONCE = 500, 100
SEEDS_OF_ALL, AT_ONCE_OF_ALL = 100_000, 500
SHRINK_BUDGET = 60
PROJECT = Path(__file__).parent.parent.parent


def _live(seeds: Iterable[int]) -> Counter[str]:
    """What has happened in these seeds; a test that fails shows the first that breaks, and what it shrinks to."""
    happened: Counter[str] = Counter()
    for seed in seeds:
        found = lived(seed)
        if isinstance(found, Broken):
            pytest.fail(f"{found}\n\nShrunk:\n{shrink(found, simulate, SHRINK_BUDGET)}", pytrace=False)
        happened.update(found.happened)
    return happened


def _must_have_seen_all(happened: Counter[str]) -> None:
    """A simulation in which nothing goes wrong shows nothing."""
    faults = [*Faults.__struct_fields__, *(f"{fate} of fate" for fate in ("crash", "pause", "stop"))]
    endings = ("Completed", "Failed", "Canceled", "Terminated", "TimedOut")
    missing = {f"fault: {fault}" for fault in faults} | {f"WorkflowExecution{ending}" for ending in endings}
    assert missing - set(happened) == set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEEDS + 1, AT_ONCE))
def test_500_seeds_keep_every_invariant(first: int) -> None:
    _must_have_seen_all(_live(range(first, first + AT_ONCE)))


@pytest.mark.all
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(SEEDS + 1, SEEDS_OF_ALL + 1, AT_ONCE_OF_ALL))
def test_100000_seeds_keep_every_invariant(first: int) -> None:
    _must_have_seen_all(_live(range(first, first + AT_ONCE_OF_ALL)))


# One seed, one history. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [7, 36, 140])
def test_one_seed_is_one_history_byte_for_byte(seed: int) -> None:
    once, again = simulate(seed), simulate(seed)
    assert once.rows == again.rows
    assert once.log == again.log


def test_a_seed_is_the_same_history_in_another_process_with_other_hashes() -> None:
    here = [simulate(seed).digest for seed in (7, 36)]
    code = "from tests.simulation.world import simulate; print(*(simulate(seed).digest for seed in (7, 36)))"
    for hashes in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.split() == here


def test_a_history_does_not_say_where_the_engine_is_installed() -> None:
    for seed in range(1, 6):
        assert str(PROJECT) not in repr(simulate(seed).rows)


def test_two_seeds_are_two_histories() -> None:
    assert simulate(7).digest != simulate(8).digest


def test_the_same_chance_writes_the_same_program() -> None:
    programs = [Author(random.Random(seed)).program() for seed in (5, 5, 6)]
    assert programs[0] == programs[1] != programs[2]


def _seed_of_two_errands() -> int:
    """The first in which much goes wrong, besides."""
    plans = map(Plan.of, count(1))
    return next(
        plan.seed for plan in plans if len(plan.assignments) > 1 and max(msgspec.structs.astuple(plan.faults)) > 0.1
    )


def test_what_is_left_out_of_a_plan_does_not_happen() -> None:
    whole = simulate(seed := _seed_of_two_errands())
    assert [what for what in whole.happened if what.startswith("fault: ")]
    assert [row for row in whole.rows if "w1" in row]

    report = simulate(Plan.of(seed, {"w1", *map(str, range(1, 10_000))}))

    assert not [what for what in report.happened if what.startswith("fault: ")]
    assert not [row for row in report.rows if "w1" in row]


# What breaks is told. -------------------------------------------------------------------------------------------------


def _on_fire(world: World) -> None:
    raise ValueError("the engine is on fire")


def test_a_seed_that_breaks_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_calm_down", _on_fire)
    with pytest.raises(Broken, match=r"on fire(.|\n)*python -m tests\.simulation 7$"):
        simulate(7)


def test_a_test_that_fails_shows_the_seed_and_what_it_shrinks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_calm_down", _on_fire)
    with pytest.raises(
        pytest.fail.Exception, match=r"simulation 7\n(.|\n)*on fire\n.*simulation 7 --without \S*w0\S*$"
    ):
        _live([7])


def test_an_error_that_the_engine_logs_breaks_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def smoking(world: World, run: Run) -> None:
        logging.getLogger("durable.worker").warning("smoke")
        logging.getLogger("durable.worker").error("fire in run %s", "7f")

    monkeypatch.setattr(World, "stepped", smoking)
    with pytest.raises(Broken, match="the engine's log says: fire in run 7f"):
        simulate(7)


def test_a_range_of_seeds_is_lived_by_several_processes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "1:6", "--jobs", "2"], cwd=PROJECT, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "6 of 6 seeds" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["7", "--without", "w9"], "seed 7 has nothing named 'w9'"),
        (["7", "--without", "w0 w1"], "'w0 w1' is not the name of anything"),
        (["7:8", "--without", "w0"], "--without belongs to one seed"),
        (["seven"], "invalid literal"),
    ],
)
def test_the_command_says_what_it_can_not_do(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert why in capsys.readouterr().err


def test_the_command_shrinks_what_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    with messages_committed_twice():
        assert main(["1", "--shrink"]) == 1
    assert "python -m tests.simulation 1\n\nShrunk:" in (told := capsys.readouterr().out)
    assert "python -m tests.simulation 1 --without " in told.splitlines()[-1]


def test_the_command_shows_a_plan_that_holds(capsys: pytest.CaptureFixture[str]) -> None:
    seed = _seed_of_two_errands()
    assert main([str(seed), "--without", "w0"]) == 0
    told = capsys.readouterr().out
    assert simulate(Plan.of(seed, {"w0"})).digest[:16] in told
    assert "w1: " in told
    assert "w0: " not in told
