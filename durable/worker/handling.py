"""Pure: the handlers of a run at work: signals and updates, and the warning when the run ends before them."""

from __future__ import annotations

import asyncio
import contextvars
import json
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from durable.exceptions import CancelledError
from durable.history.commands import AcceptUpdate, CompleteUpdate, RejectUpdate
from durable.history.events import WorkflowExecutionSignaled
from durable.history.values import Failure, UpdateOutcome, UpdateRequest
from durable.worker.loop import WorkflowBeingEvicted
from durable.worker.messages import Call
from durable.worker.watchdog import DeadlockError
from durable.workflow.continuing import Continued
from durable.workflow.errors import ReadOnlyContextError
from durable.workflow.handlers import (
    HandlerDefinition,
    HandlerUnfinishedPolicy,
    Kind,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
)
from durable.workflow.info import UpdateInfo, current_update

if TYPE_CHECKING:
    from durable.worker.replay import Run


class Handled(Struct, eq=False):
    """A signal or an update that is being handled. ``definition`` None: not accepted yet."""

    kind: Kind
    name: str
    update_id: str
    definition: HandlerDefinition | None


class HandlersAtWork:
    """Begins the handlers of one run. ``handled`` is what is at work; ``rejections`` are those of this activation."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.handled: set[Handled] = set()
        self.rejections: dict[str, Failure] = {}

    def signal(self, event: WorkflowExecutionSignaled) -> None:
        assert self._run.handlers is not None
        call = self._run.handlers.signal(event)
        if call is not None:
            handled = self._begun(Handled(Kind.SIGNAL, event.signal_name, "", call.definition))
            self._run.loop.create_task(self._run_signal(call, handled), name=f"signal-{event.signal_name}")

    def update(self, request: UpdateRequest, *, judge: bool, admitted: bool = False) -> None:
        handled = self._begun(Handled(Kind.UPDATE, request.input.name, request.meta.update_id, None))
        self._run.loop.create_task(
            self._run_update(request, judge, admitted, handled), name=f"update-{request.input.name}"
        )

    async def _run_signal(self, call: Call, handled: Handled) -> None:
        try:
            await call.run()
        except (WorkflowBeingEvicted, GeneratorExit):
            raise
        except BaseException as error:
            self._run.escaped(error)
        finally:
            self.handled.discard(handled)

    async def _run_update(self, request: UpdateRequest, judge: bool, admitted: bool, handled: Handled) -> None:
        update_id = request.meta.update_id
        current_update.set(UpdateInfo(update_id, request.input.name))
        try:
            try:
                call = self._judged(request, judge)
            except (WorkflowBeingEvicted, GeneratorExit, DeadlockError):
                raise
            except BaseException as error:
                self._reject(request, error, judge, admitted)
                return
            handled.definition = call.definition
            self._run.ask(AcceptUpdate(update_id=update_id, request=None if admitted else request))
            result = await call.run()
            outcome = UpdateOutcome(success=self._run.converter.to_payloads([result]))
        except (WorkflowBeingEvicted, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, Continued):
                self._run.end(error.command)
                return
            if isinstance(error, asyncio.CancelledError):
                error = CancelledError(f"Cancellation raised within update {error}".rstrip())
            if not self._run.is_failure(error):
                self._run.fail_task(error)
                return
            outcome = UpdateOutcome(failure=self._run.converter.to_failure(error))
        finally:
            self.handled.discard(handled)
        self._run.ask(CompleteUpdate(update_id=update_id, outcome=outcome))

    def _judged(self, request: UpdateRequest, judge: bool) -> Call:
        """The call of its handler. Raises what rejects it, unless it was judged and accepted before."""
        assert self._run.handlers is not None
        with self._run.looking_only():
            return self._run.handlers.update(request, judge=judge)

    def _reject(self, request: UpdateRequest, error: BaseException, judge: bool, admitted: bool) -> None:
        if isinstance(error, ReadOnlyContextError) or not judge:
            self._run.fail_task(error)
            return
        failure = self._run.converter.to_failure(error)
        self.rejections[request.meta.update_id] = failure
        if admitted:
            self._run.ask(RejectUpdate(update_id=request.meta.update_id, failure=failure))

    def without_rejected(self, updates: Sequence[UpdateRequest]) -> tuple[Sequence[UpdateRequest], bool]:
        """From the first on that is not rejected, and whether that one is accepted; the others don't touch the code."""
        with self._run.stepping(self._run), self._run.loop.entered():
            for at, update in enumerate(updates):
                context = contextvars.copy_context()
                context.run(current_update.set, UpdateInfo(update.meta.update_id, update.input.name))
                try:
                    context.run(self._judged, update, True)
                except ReadOnlyContextError:
                    return updates[at:], False
                except DeadlockError:
                    raise
                except BaseException as error:
                    self._reject(update, error, judge=True, admitted=False)
                else:
                    return updates[at:], True
        return (), False

    def _begun(self, handled: Handled) -> Handled:
        self.handled.add(handled)
        return handled


def warn_unfinished(handled: Iterable[Handled]) -> None:
    """Tell of handlers that are still at work when their run ends, and that have not said that they don't mind."""
    unfinished = [
        each
        for each in handled
        if each.definition is not None and each.definition.unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON
    ]
    updates = sorted(({"name": each.name, "id": each.update_id} for each in unfinished if each.update_id), key=str)
    signals = sorted({each.name for each in unfinished if each.kind is Kind.SIGNAL})
    if updates:
        warnings.warn(
            "[TMPRL1102] Workflow finished while update handlers were still running: what they were doing is cut off, "
            f"and their callers get an error. {_ADVICE.format(kind='update')} Unfinished: {json.dumps(updates)}",
            UnfinishedUpdateHandlersWarning,
            stacklevel=1,
        )
    if signals:
        warnings.warn(
            "[TMPRL1102] Workflow finished while signal handlers were still running: what they were doing is cut off. "
            f"{_ADVICE.format(kind='signal')} Unfinished: {json.dumps(signals)}",
            UnfinishedSignalHandlersWarning,
            stacklevel=1,
        )


_ADVICE = (
    "Let the workflow wait for them with `await workflow.wait_condition(workflow.all_handlers_finished)`, or say that "
    "they may be cut off: `@workflow.{kind}(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)`."
)
