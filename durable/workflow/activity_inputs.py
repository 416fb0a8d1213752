"""Calls of activities as interceptors see them: made of what the code asks for, made calls of what is handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from durable.activity import ActivityCancellationType, ActivityDefinition, activity_call
from durable.common import Priority
from durable.context import ActivityCall, WorkflowContext
from durable.signature import encode_parted
from durable.workflow.groups import EventGroup
from durable.workflow.interception import StartActivityInput, StartLocalActivityInput

Called = ActivityDefinition | str
"""An activity as it is called: all that is known of it, or its name."""

_SHARED = (
    "activity_id",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "retry_policy",
    "summary",
)


def called(activity: object) -> Called:
    """What workflow code means by the activity that it gives. TypeError and ValueError for what is none."""
    if isinstance(activity, str):
        return activity
    if not callable(activity):
        raise TypeError(f"An activity is called by its decorated function or by its name, not by {activity!r}")
    return ActivityDefinition.must_be(activity).named()


def check_timeout(start_to_close: timedelta | None, schedule_to_close: timedelta | None) -> None:
    """ValueError when there is neither. A call of an activity itself needs none."""
    if start_to_close is None and schedule_to_close is None:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")


def activity_input(
    activity: Called,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ret_type: Any,
    options: Mapping[str, Any],
    *,
    versioning_intent: Any = None,
    event_groups: Sequence[EventGroup] | None = None,
    is_call: bool = False,
) -> StartActivityInput:
    """What an interceptor gets of a call. TypeError for arguments that the activity does not take."""
    options = _all_options(activity, options)
    args, kwargs = _bound(activity, args, kwargs)
    return StartActivityInput(
        **_shared(activity, args, ret_type, options),
        task_queue=options.get("task_queue"),
        heartbeat_timeout=options.get("heartbeat_timeout"),
        disable_eager_execution=False,
        versioning_intent=versioning_intent,
        priority=options.get("priority", Priority.default),
        event_groups=event_groups,
        kwargs=kwargs,
        is_call=is_call,
    )


def local_activity_input(
    activity: Called,
    args: Sequence[Any],
    ret_type: Any,
    options: Mapping[str, Any],
    *,
    local_retry_threshold: timedelta | None,
    event_groups: Sequence[EventGroup] | None,
) -> StartLocalActivityInput:
    """What an interceptor gets of `start_local_activity`. TypeError for arguments that the activity does not take."""
    args, _ = _bound(activity, args, {})
    return StartLocalActivityInput(
        **_shared(activity, args, ret_type, _all_options(activity, options)),
        local_retry_threshold=local_retry_threshold,
        event_groups=event_groups,
    )


def call_of_input(run: WorkflowContext, input: StartActivityInput) -> ActivityCall:
    """The call that the interceptors leave of it. ValueError without a timeout where one is needed."""
    if not input.is_call:
        check_timeout(input.start_to_close_timeout, input.schedule_to_close_timeout)
    converter = run.activity_converter(input.activity, input.activity_id, input.task_queue)
    return activity_call(
        input.activity,
        encode_parted(converter, input.args, input.kwargs, input.arg_names),
        input.ret_type,
        task_queue=input.task_queue,
        heartbeat_timeout=input.heartbeat_timeout,
        priority=input.priority,
        **_shared_options(input),
    )


def local_call_of_input(run: WorkflowContext, input: StartLocalActivityInput) -> ActivityCall:
    """As `call_of_input`, of a local activity."""
    check_timeout(input.start_to_close_timeout, input.schedule_to_close_timeout)
    converter = run.activity_converter(input.activity, input.activity_id, None, local=True)
    payloads = converter.to_payloads(input.args, input.arg_names)
    return activity_call(input.activity, payloads, input.ret_type, **_shared_options(input))


def _all_options(activity: Called, options: Mapping[str, Any]) -> Mapping[str, Any]:
    return options if isinstance(activity, str) else {**activity.options, **options}


def _bound(activity: Called, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    return (list(args), kwargs) if isinstance(activity, str) else activity.signature.parted(args, kwargs)


def _shared(activity: Called, args: Sequence[Any], ret_type: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    known = None if isinstance(activity, str) else activity
    return {
        **{name: options.get(name) for name in _SHARED},
        "activity": known.name if known is not None else activity,
        "args": args,
        "cancellation_type": options.get("cancellation_type", ActivityCancellationType.TRY_CANCEL),
        "headers": {},
        "arg_types": None if known is None else list(known.signature.positional_hints),
        "arg_names": () if known is None else known.signature.positional_names,
        "ret_type": ret_type or (None if known is None else known.signature.return_hint),
    }


def _shared_options(input: StartActivityInput | StartLocalActivityInput) -> dict[str, Any]:
    return {
        **{name: getattr(input, name) for name in _SHARED},
        "cancellation_type": input.cancellation_type,
        "header": input.headers,
    }
