"""Pure: patches as markers in the history, in the form that Temporal's SDKs give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from durable.history.commands import Command, RecordMarker
from durable.history.events import CommandEvent, MarkerRecorded, UpsertWorkflowSearchAttributes
from durable.history.values import Payload
from durable.workflow.info import Info

MARKER = "core_patch"
_DATA = "patch-data"
_INDEX = "TemporalChangeVersion"
"""The search attribute in which Temporal's SDKs list a run's patches: set by themselves, beside each marker."""


@dataclass(frozen=True)
class PatchActivationInput:
    """A run asks for a patch for the first time: ``patch_activation_callback`` says whether it has it."""

    workflow_info: Info
    patch_id: str


class Patch(Struct, frozen=True):
    """What a marker says: the run has the patch ``id``; ``deprecated``: code that does not ask for it fits as well."""

    id: str
    deprecated: bool = False


_decode = msgspec.json.Decoder(Patch).decode


def marker(patch: Patch) -> RecordMarker:
    data = Payload(metadata={"encoding": b"json/plain"}, data=msgspec.json.encode(patch))
    return RecordMarker(marker_name=MARKER, details={_DATA: [data]})


def patch_of(mark: RecordMarker | MarkerRecorded) -> Patch | None:
    """The patch of a marker; None when it is about something else."""
    data = mark.details.get(_DATA, [])
    if mark.marker_name != MARKER or not data:
        return None
    try:
        return _decode(data[0].data)
    except msgspec.MsgspecError:
        return None


def patches_in(recorded: Sequence[CommandEvent]) -> set[str]:
    """The ids of the patches that a recorded workflow task has asked for."""
    found = (patch_of(event) for event in recorded if isinstance(event, MarkerRecorded))
    return {patch.id for patch in found if patch is not None}


def patches_asked(commands: Sequence[Command]) -> set[str]:
    """The ids of the patches that code asks for."""
    found = (patch_of(command) for command in commands if isinstance(command, RecordMarker))
    return {patch.id for patch in found if patch is not None}


def without_unasked(recorded: Sequence[CommandEvent], asked: set[str]) -> list[CommandEvent]:
    """What is recorded, but for deprecated patches that the code forgot, and what Temporal notes beside each patch."""
    before = (None, *recorded)
    return [
        event
        for event, previous in zip(recorded, before, strict=False)
        if not (_is_unasked(event, asked) or _is_index(event, previous))
    ]


def _is_unasked(event: CommandEvent, asked: set[str]) -> bool:
    patch = patch_of(event) if isinstance(event, MarkerRecorded) else None
    return patch is not None and patch.deprecated and patch.id not in asked


def _is_index(event: CommandEvent, previous: CommandEvent | None) -> bool:
    return (
        isinstance(event, UpsertWorkflowSearchAttributes)
        and event.search_attributes.keys() == {_INDEX}
        and isinstance(previous, MarkerRecorded)
        and patch_of(previous) is not None
    )
