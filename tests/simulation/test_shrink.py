"""A plan that breaks is made small, and one line of text repeats it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.__main__ import main
from tests.simulation.grammar import signals_needed
from tests.simulation.host import Faults
from tests.simulation.plan import Plan, from_text, to_text
from tests.simulation.planted import messages_dropped
from tests.simulation.shrink import shrink
from tests.simulation.world import Broken, lived, masked, simulate

STRUCK = 40
SEEDS = st.integers(1, 10_000)


def _names(plan: Plan) -> set[str]:
    """All that is in a plan, and the faults that happen in the fake simulation of it."""
    return {*plan.parts, *map(str, range(1, STRUCK + 1))} - plan.without


def _broken(plan: Plan, kind: str = "a fault") -> Broken:
    return Broken("text", plan, kind, STRUCK)


def _fails_with(core: set[str], kind: str = "a fault") -> Callable[[Plan], None]:
    """A simulation that breaks when all of ``core`` is there."""

    def fake(plan: Plan) -> None:
        if core <= _names(plan):
            raise _broken(plan, kind)

    return fake


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    whole = Plan.of(draw(SEEDS))
    return Plan.of(whole.seed, draw(st.sets(st.sampled_from(sorted(_names(whole))))))


# Plans. ---------------------------------------------------------------------------------------------------------------


@given(_plans())
def test_what_is_left_out_is_the_same_after_it_was_written_as_text(plan: Plan) -> None:
    text = to_text(plan.without)
    assert from_text(text) == plan.without
    assert text.split() in ([], [text])  # no blanks: one word of a command
    assert plan.command == f"python -m tests.simulation {plan.seed}" + (f" --without {text}" if text else "")


@given(st.sets(st.integers(1, 60)))
def test_numbers_in_a_row_are_written_as_a_span(numbers: set[int]) -> None:
    assert from_text(to_text({str(number) for number in numbers})) == {str(number) for number in numbers}
    assert to_text({str(number) for number in range(1, 61)} - {"17"}) == "1-16,18-60"


@given(_plans())
def test_no_step_of_a_plan_waits_for_a_signal_that_is_left_out(plan: Plan) -> None:
    for each in plan.assignments:
        signals = [task[1] for task in each.tasks if task[0] == "signal"]
        assert signals == list(range(len(signals)))
        assert len(signals) >= each.program.signals_read


@given(SEEDS)
def test_a_whole_program_waits_for_as_many_signals_as_its_author_says(seed: int) -> None:
    for each in Plan.of(seed).assignments:
        assert max(map(signals_needed, each.program.steps), default=0) == each.program.signals_read


@given(_plans())
def test_what_is_left_out_changes_nothing_of_the_rest(plan: Plan) -> None:
    whole = Plan.of(plan.seed)
    assert plan.without.isdisjoint(plan.parts)
    assert [each.workflow_id for each in plan.assignments] == [
        each.workflow_id for each in whole.assignments if each.workflow_id not in plan.without
    ]
    assert plan.workers == [number for number in whole.workers if f"p{number}" not in plan.without]
    assert plan.life(2, errands=False).seed == whole.life(2, errands=False).seed


def test_each_kind_of_fault_is_in_some_plans_and_not_in_all() -> None:
    plans = [Plan.of(seed) for seed in range(1, 101)]
    for kind in Faults.__struct_fields__:
        assert 10 < sum(getattr(plan.faults, kind) > 0 for plan in plans) < 90, kind


@pytest.mark.parametrize("name", ["w9", "w0.s77", "p8", "typo"])
def test_a_name_that_a_plan_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"seed 1 has nothing named '{name}'"):
        Plan.of(1, from_text(name))


@pytest.mark.parametrize("text", ["w", "1-", "-3", "w0 w1", "1-2-3"])
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not the name of anything|has nothing named"):
        Plan.of(1, from_text(text))


# Shrinking. -----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_what_is_left_is_just_what_it_takes_to_break(data: st.DataObject) -> None:
    whole = Plan.of(data.draw(SEEDS))
    core = data.draw(st.sets(st.sampled_from(sorted(_names(whole))), max_size=4))

    found = shrink(_broken(whole), _fails_with(core), budget=10_000)

    around = {name for name in whole.parts if any(each.startswith(f"{name}.") for each in core)}
    assert _names(found.plan) == core | around


def test_no_more_simulations_than_the_budget_and_the_last_look() -> None:
    whole = Plan.of(1)
    asked: list[Plan] = []

    def fake(plan: Plan) -> None:
        asked.append(plan)
        _fails_with({"w0", "7"})(plan)

    shrink(_broken(whole), fake, budget=10)
    assert len(asked) <= 11


def test_what_breaks_otherwise_is_not_what_was_looked_for() -> None:
    whole = Plan.of(1)

    def fake(plan: Plan) -> None:
        _fails_with({"w0", "7"})(plan)
        _fails_with({"9"}, "another fault")(plan)

    found = shrink(_broken(whole), fake)
    assert found.kind == "a fault"
    assert {"w0", "7"} <= _names(found.plan)


def test_a_kind_is_a_message_without_what_differs_from_run_to_run() -> None:
    here = "Violation: w0, w2 did not get to the end: [1, {'a': (2, 3)}] of 01f3-7a at 12.5 µs (seen when p2 had done)"
    there = "Violation: w1 did not get to the end: [] of 01f4-9b at 3 µs"
    assert masked(here) == masked(there) == "Violation: # did not get to the end: of # at # µs"
    assert masked("activity 5 began twice") != masked("timer 5 began twice")


@pytest.mark.timeout(600)
def test_a_planted_fault_is_shrunk_and_its_command_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    with messages_dropped():
        broken = next(found for found in map(lived, range(1, 1001)) if isinstance(found, Broken))
        small = shrink(broken, simulate)
        repeated = main(small.plan.command.split()[3:])

    assert small.kind == broken.kind
    assert len(small.plan.parts) < len(broken.plan.parts) // 2
    assert (repeated, capsys.readouterr().out) == (1, f"{small}\n")
