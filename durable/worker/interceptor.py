"""What a worker's interceptors are, and where they may stand between a worker and its activities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from durable.activity import Info
from durable.workflow.interception import WorkflowInboundInterceptor

if TYPE_CHECKING:
    from durable.history.values import Payload


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """What an interceptor may add to when it is asked for its class."""

    unsafe_extern_functions: MutableMapping[str, Callable[..., Any]]
    """What `workflow.extern_functions` gives to the code of all runs. No replay knows what they have answered."""


class Interceptor:
    """Intercepts what a worker runs. To be extended, and given to `Worker`; or to the client of all workers, if it is
    a `durable.client.Interceptor` as well. The first of a list is outermost."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """What is to stand before ``next`` in an attempt that begins; by default nothing."""
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """The class of which each run gets an object; by default none. Asked for when the worker is made."""
        return None

    def intercept_nexus_operation(self, next: Any) -> Any:
        """Never called: there is no Nexus."""
        return next


@dataclass
class ExecuteActivityInput:
    """An attempt's code is to begin.

    ``fn`` is what the worker was given; ``executor`` runs it if it is not async. What is to run in a process must be
    picklable. ``kwargs`` (ours) are arguments without a position.
    """

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    headers: Mapping[str, Payload]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)


class ActivityInboundInterceptor:
    """Stands between a worker and an attempt's code, on the event loop. To be extended; each method hands on to the
    next one unless overridden. An exception is as one of the activity's own."""

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Called once, before the code. To intercept what it asks for, hand on an interceptor of your own around
        ``outbound``."""
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the code, wherever that is; its result."""
        return await self.next.execute_activity(input)


class ActivityOutboundInterceptor:
    """Stands between an attempt's code and what it asks for, on the event loop, wherever that code runs. To be
    extended; each method hands on to the next one unless overridden."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        self.next = next

    def info(self) -> Info:
        """`activity.info`; asked once before the code of an activity that is not async, which gets the answer."""
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        """`activity.heartbeat`."""
        self.next.heartbeat(*details)


class Interceptors(Struct, frozen=True):
    """The interceptors of a worker, or a replayer, and what they bring to runs: the first is outermost."""

    instances: tuple[Interceptor, ...] = ()
    classes: tuple[type[WorkflowInboundInterceptor], ...] = ()
    extern_functions: Mapping[str, Callable[..., Any]] = {}

    @staticmethod
    def of(given: Iterable[object], inherited: Iterable[object] = ()) -> Interceptors:
        """Those that are given, after those of the client that are for workers too; each once, however often it comes.

        TypeError for what is given and is none.
        """
        found: list[Interceptor] = []
        for each in [*(each for each in inherited if isinstance(each, Interceptor)), *given]:
            if not isinstance(each, Interceptor):
                raise TypeError(
                    f"{each!r} is no durable.worker.Interceptor: extend that, or give what is for clients only to the "
                    "client"
                )
            if not any(each is other for other in found):
                found.append(each)
        functions: dict[str, Callable[..., Any]] = {}
        asked = [each.workflow_interceptor_class(WorkflowInterceptorClassInput(functions)) for each in found]
        return Interceptors(tuple(found), tuple(each for each in asked if each is not None), functions)
