"""Ten workflows with a fault each that real people make: the kit finds all ten, and nothing in them once mended."""

from __future__ import annotations

from pathlib import Path

from tests.testing.pytests import Pytest, Verdict

FAULTY = Path(__file__).parent / "faulty"

SWEEP = "crash sweep: this test passes when nothing happens, and fails when the worker dies at durable point"
REPLAY = "what ran in this test does not replay:"
ELSEWHERE = "crash sweep: what ran in this test does not replay in another process, where strings hash otherwise"

# Who finds it, and in which words.
FOUND = {
    "changed_by_query": (
        REPLAY,
        'recorded WorkflowExecutionCompleted with (["tea","coffee"]), but the code now completes',
    ),
    "charged_twice": (
        SWEEP,
        "before it commits, for workflow 'buy', events 6 to 11: ActivityTaskCompleted of 'charge'",
        "assert [995, 995] == [995]",
    ),
    "clock_decides": (
        REPLAY,
        "recorded WorkflowExecutionCompleted, but the code now schedules activity 'is_ready'",
    ),
    "effect_before_record": (
        SWEEP,
        "before it commits, for workflow 'bill', events 3 to 5: ActivityTaskScheduled of 'mail'",
        "assert ['invoice for...oice for tea'] == ['invoice for tea']",
    ),
    "forgotten_timeout": (
        SWEEP,
        "after it commits, for workflow 'approval', events 3 to 5: ActivityTaskScheduled of 'ask'",
        "nothing is at work and nothing will fall due",
    ),
    "kept_in_module": (
        REPLAY,
        "event 5 recorded ActivityTaskScheduled of 'look_up' (activity id 1), but the code now completes the workflow",
    ),
    "lost_compensation": (
        SWEEP,
        "before it commits, for workflow 'trip', events 6 to 11: ActivityTaskCompleted of 'book_room'",
        "assert {'Ada'} == set()",
    ),
    "no_second_attempt": (
        SWEEP,
        "after it commits, for workflow 'text', events 3 to 5: ActivityTaskScheduled of 'transcribe'",
        "the worker that ran the activity died",
    ),
    "set_iterated": (
        ELSEWHERE,
        "recorded ActivityTaskScheduled of 'tell' (activity id ",
        ", \"shipped\"), but the code now schedules activity 'tell'",
    ),
    "swallowed_cancellation": (
        SWEEP,
        "after it commits, for workflow 'order', events 3 to 5: ActivityTaskScheduled of 'reserve'",
        "DID NOT RAISE WorkflowFailureError",
    ),
}


def text_of(fault: str) -> str:
    return (FAULTY / f"{fault}.py").read_text()


def test_the_kit_finds_and_names_all_ten_and_finds_nothing_once_they_are_mended(users: Pytest) -> None:
    verdicts = users.run_files({f"test_{fault}.py": text_of(fault) for fault in FOUND}).verdicts

    told = {}
    for name, verdict in verdicts.items():
        file, _, test = name.partition("::")
        if test.endswith("[faulty]"):
            told[file.removeprefix("test_")] = verdict.told
        else:
            assert verdict == Verdict("passed", ""), name
    assert told.keys() == FOUND.keys()
    for fault, words in FOUND.items():
        assert [each for each in words if each not in told[fault]] == [], told[fault]


def test_without_sweep_and_replay_nobody_notices_any_of_them(users: Pytest) -> None:
    unwatched = {
        f"test_{fault}.py": text_of(fault).replace("@pytest.mark.crash_sweep", "@pytest.mark.durable(replay=False)")
        for fault in FOUND
    }

    outcomes = users.run_files(unwatched).outcomes

    assert len(outcomes) == 2 * len(FOUND) == 20
    assert set(outcomes.values()) == {"passed"}
    assert {f"{fault}.py" for fault in FOUND} == {path.name for path in FAULTY.glob("*.py")}
