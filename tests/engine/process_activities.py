"""Activities that run in processes. A module of its own, for a process imports them anew."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import create_engine

from durable import activity
from durable.exceptions import ApplicationError, CancelledError


@dataclass
class Order:
    id: str
    items: int


def _hidden() -> Any:
    @dataclass
    class Hidden:
        """Of a type that nobody can import."""

        number: int

    return Hidden


Hidden = _hidden()


class Stubborn(Exception):
    """One that can be pickled, and not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Stray(BaseException):
    """The same, and no Exception."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@dataclass
class Press:
    """An object whose method is an activity: each process has a copy."""

    times: int

    @activity.defn
    def print(self, text: str) -> str:
        return text * self.times


@activity.defn
def where(order: Order) -> tuple[int, Order]:
    return os.getpid(), Order(order.id, order.items + 1)


@activity.defn
def books() -> None:
    with activity.exactly_once(create_engine("sqlite://")):
        pass


@activity.defn
def knows() -> list[Any]:
    info = activity.info()
    refused = []
    for ask in (activity.client, activity.metric_meter):
        try:
            ask()
        except RuntimeError as error:
            refused.append(str(error).split(":")[0].split(".")[0])
    payload = activity.payload_converter().to_payload(1)
    return [info.activity_type, info.attempt, info.workflow_id, info.in_workflow, payload.data.decode(), *refused]


@activity.defn
def fail(how: str) -> None:
    match how:
        case "cause":
            try:
                raise KeyError("the cause")
            except KeyError as error:
                raise ApplicationError("not now", {"a": 1}, type="Mine", non_retryable=True) from error
        case "stubborn":
            raise Stubborn("one", "other")
        case "stray":
            raise Stray("one", "other")
        case "exit":
            sys.exit("leaving")
        case _:
            raise ValueError(how)


@activity.defn
def beats() -> list[Any]:
    """Beats, and fails at once; the second attempt tells what it found."""
    if activity.info().attempt == 1:
        for page in range(5):
            activity.heartbeat("page", Order("a", page))
        raise ValueError("after five pages")
    return list(activity.info().heartbeat_details)


@activity.defn
def beats_wrongly() -> None:
    try:
        activity.heartbeat(object())
    except TypeError:
        raise ValueError("something else") from None


@activity.defn
def beats_until_cancelled() -> None:
    activity.heartbeat("page")
    activity.wait_for_cancelled_sync()
    raise CancelledError("cleaned up")


@activity.defn
def waits(path: str) -> str:
    """Tells by a file that it has begun; ends when it is cancelled, or the worker stops."""
    with open(path, "w") as file:
        file.write("begun")
    while not activity.is_worker_shutdown():
        activity.wait_for_cancelled_sync(0.02)
        if activity.is_cancelled():
            raise CancelledError("cleaned up")
    activity.wait_for_worker_shutdown_sync()
    return "told of the shutdown"


@activity.defn
def dies(path: str) -> NoReturn:
    os._exit(3)


@activity.defn
def logs() -> None:
    handler = _Texts()
    activity.logger.base_logger.addHandler(handler)
    activity.logger.warning("hello")
    activity.logger.base_logger.removeHandler(handler)
    raise ApplicationError(handler.texts[0], non_retryable=True)


class _Texts(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@activity.defn
def unpicklable() -> Any:
    return lambda: None


@activity.defn
def takes_hidden(value: Hidden) -> int:
    return int(value.number)


def asked_in_its_process(path: str) -> activity.Happened:
    return activity.Happened([os.getpid(), activity.info().idempotency_key])


@activity.defn(after_crash=asked_in_its_process)
def cut_off(path: str) -> None:
    """Tells by a file that it has begun, with its key, and works until its worker stops."""
    with open(path, "w") as file:
        file.write(activity.info().idempotency_key)
    activity.wait_for_cancelled_sync()
    raise CancelledError("the worker stops")


@activity.defn(after_crash=asked_in_its_process)
def lost_on_the_way(path: str) -> Stubborn:
    """It ends well, and the worker can't read what it returns."""
    return Stubborn("one", "other")


@activity.defn(after_crash=lambda: None)
def never_asked() -> None: ...


def _async_verify() -> Any:
    async def verify() -> None: ...

    return verify


@activity.defn(after_crash=_async_verify())
def asked_in_the_worker() -> None: ...


ALL = (
    books,
    where,
    knows,
    fail,
    beats,
    beats_wrongly,
    beats_until_cancelled,
    waits,
    dies,
    logs,
    unpicklable,
    takes_hidden,
    cut_off,
    lost_on_the_way,
    Press(2).print,
)


@activity.defn(transactional=True)
def writes() -> None:
    activity.session()
