"""The hello samples: each does what it says, and its histories replay."""

from __future__ import annotations

from collections.abc import Callable

from durable.history.events import ActivityTaskScheduled, WorkflowExecutionSignaled, WorkflowExecutionUpdateAccepted
from hello_activity_choice import Send
from hello_activity_retry import ReadStation
from hello_cancellation import RenderFilm, RenderTrailer
from hello_exception import PrintBook
from hello_parallel_activity import CheapestFlight, FirstAnswer, TwoAtATime
from hello_query import CopyArchive
from hello_signal import Counter, counter
from hello_update import Wallet
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_a_station_is_asked_again_as_long_as_there_is_hope(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_activity_retry")

    assert said.splitlines() == [
        *[f"harbour: attempt {attempt}" for attempt in (1, 2, 3)],
        "harbour: 11.5 °C",
        *[f"summit: attempt {attempt}" for attempt in (1, 2, 3, 4)],
        "summit: given up, ConnectionError: the line is dead",
        "atlantis: attempt 1",
        "atlantis: no use, UnknownStation: there is no such station",
    ]
    histories = await folder.histories()
    replay(histories, ReadStation)
    await replay_on_temporal(histories, "hello_activity_retry")


async def test_the_data_choose_the_activities(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_activity_choice")

    assert said.splitlines() == [
        "a postcard is in a letter box",
        "a parcel is with a courier",
        "a piano is insured; a piano hangs from a crane",
    ]
    histories = await folder.histories()
    replay(histories, Send)
    await replay_on_temporal(histories, "hello_activity_choice")


async def test_airlines_are_asked_side_by_side(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_parallel_activity")

    assert said.splitlines() == [
        "the cheapest is ostrich for 95; asked 3 at once",
        "the first answer came from heron; asked 2 at once",
        "on average 195; asked 2 at once",
    ]
    histories = await folder.histories()
    replay(histories, CheapestFlight, FirstAnswer, TwoAtATime)
    await replay_on_temporal(histories, "hello_parallel_activity")


async def test_an_error_arrives_with_all_its_causes(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_exception")

    assert said.splitlines() == [
        "WorkflowFailureError: Workflow execution failed",
        "ApplicationError: NotPrinted: the customer gets their money back",
        "    with {'book': 'moby-dick'}",
        "ActivityError: Activity task failed",
        "ApplicationError: ValueError: moby-dick can't be printed",
        "ApplicationError: FileNotFoundError: [Errno 2] No such file or directory: 'moby-dick.pdf'",
    ]
    histories = await folder.histories()
    replay(histories, PrintBook)
    await replay_on_temporal(histories, "hello_exception")


async def test_a_query_tells_how_far_a_run_is_and_was(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_query")

    assert said.splitlines() == [
        "Progress(done=2, of=4)",
        "b: True, d: False",
        "z: there is no reel z",
        "Progress(done=4, of=4)",
    ]
    histories = await folder.histories()
    replay(histories, CopyArchive)
    await replay_on_temporal(histories, "hello_query")


async def test_orders_are_served_in_order_whenever_they_came(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("hello_signal")

    assert said.splitlines() == ["['rye', 'wheat', 'spelt', 'oats']"] * 2
    histories = await folder.histories()
    for history in histories:
        assert len([event for event in history.events if isinstance(event, WorkflowExecutionSignaled)]) == 5
    replay(histories, Counter, counter)


async def test_a_wallet_counts_each_update_once_and_refuses_what_is_not_there(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_update")

    assert said.splitlines() == [
        "june: 1000",
        "june: 1000",
        "july: 2000",
        "landlord got 1500",
        "jeweller: ValueError: jeweller wants 9000, there is 500",
        "casino: no bank pays a casino",
        "closed with 500",
        "july again: 2000",
    ]
    (history,) = await folder.histories()
    accepted = [event for event in history.events if isinstance(event, WorkflowExecutionUpdateAccepted)]
    assert len(accepted) == 4  # two salaries, the rent, the casino: what was refused, or sent again, is not there
    replay([history], Wallet)
    await replay_on_temporal([history], "hello_update")


async def test_what_was_begun_is_tidied_up_on_cancellation(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_cancellation")

    assert said.splitlines() == [
        "sea battle: the machine is free again",
        "Nelson: frames deleted",
        "Nelson: Workflow cancelled",
        "sea battle: the machine is free again",
        "trailer: kiss in 3 frames",
    ]
    film, trailer = await folder.histories()
    scheduled = [
        [event.activity_type for event in history.events if isinstance(event, ActivityTaskScheduled)]
        for history in (film, trailer)
    ]
    assert scheduled == [["render", "render", "delete_frames"], ["render", "render"]]
    replay([film, trailer], RenderFilm, RenderTrailer)
    await replay_on_temporal([film, trailer], "hello_cancellation")
