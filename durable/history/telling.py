"""Pure: what those learn who wait for updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from durable.history.commands import (
    AcceptUpdate,
    Command,
    CompleteUpdate,
)
from durable.history.messages import (
    UpdateAnswer,
    UpdateStage,
    outcome_reply,
)
from durable.history.state import State
from durable.history.steps import Received
from durable.history.values import (
    ApplicationFailureInfo,
    Failure,
    UpdateOutcome,
)


def cut_short() -> Failure:
    """How an update ends that was accepted, and not over when its run was closed."""
    return Failure(
        message="Workflow Update failed because the Workflow completed before the Update completed.",
        source="durable",
        info=ApplicationFailureInfo(type="AcceptedUpdateCompletedWorkflow", non_retryable=True),
    )


def update_answers(
    received: Received, commands: Sequence[Command], rejections: Mapping[str, Failure]
) -> list[tuple[str, UpdateAnswer]]:
    """What is told of updates: the first answer to those who ask, the outcome to those who wait for it."""
    if not (received.asking or received.state.updates):
        return []
    answers = {
        update_id: UpdateAnswer(
            stage=UpdateStage.REJECTED, outcome=UpdateOutcome(failure=failure), run_id=received.run_id
        )
        for update_id, failure in rejections.items()
    }
    for command in commands:
        if isinstance(command, AcceptUpdate):
            answers[command.update_id] = UpdateAnswer(stage=UpdateStage.ACCEPTED, run_id=received.run_id)
        elif isinstance(command, CompleteUpdate):
            answers[command.update_id] = UpdateAnswer(
                stage=UpdateStage.COMPLETED, outcome=command.outcome, run_id=received.run_id
            )
    told: list[tuple[str, UpdateAnswer]] = []
    for update_id, answer in answers.items():
        told += [(request_id, answer) for request_id in received.asking.get(update_id, ())]
        known = received.state.updates.get(update_id)
        if known is not None and known.request_id:
            told.append((known.request_id, answer))
        if known is not None and answer.stage is UpdateStage.COMPLETED:
            told.append((outcome_reply(received.run_id, update_id), answer))
    return told


def tell_cut_short(run_id: str, state: State) -> list[tuple[str, UpdateAnswer]]:
    """What those learn who wait for updates that are not over when the run is closed."""
    told: list[tuple[str, UpdateAnswer]] = []
    for update_id, update in state.updates.items():
        if not update.accepted_event_id:
            told.append((update.request_id, UpdateAnswer(stage=UpdateStage.UNREAD)))
        elif not update.completed:
            answer = UpdateAnswer(stage=UpdateStage.COMPLETED, outcome=UpdateOutcome(failure=cut_short()))
            told.append((outcome_reply(run_id, update_id), answer))
    return told


def unread(received: Received) -> list[tuple[str, UpdateAnswer]]:
    answer = UpdateAnswer(stage=UpdateStage.UNREAD)
    return [(request_id, answer) for asking in received.asking.values() for request_id in asking]
