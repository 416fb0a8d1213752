"""Large payloads outside the database: a driver keeps them, and what is stored in the database is a reference."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from durable.converter.context import ActivitySerializationContext, SerializationContext, WorkflowSerializationContext
from durable.converter.together import together
from durable.history.values import Payload

T = TypeVar("T")

NOTE = "the external storage has raised this"
ENCODING = b"json/protobuf"
REFERENCE = b"temporal.api.sdk.v1.ExternalStorageReference"
"""A reference is stored as Temporal stores it: the JSON of this message."""


class StorageWarning(RuntimeWarning):
    """External storage that does not do what it is for."""


@dataclass(frozen=True)
class StorageDriverClaim:
    """What a driver needs to find a payload again. It is kept in the database, in clear."""

    claim_data: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StorageDriverWorkflowInfo:
    """The workflow that a payload belongs to, as far as it is known."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


@dataclass(frozen=True, kw_only=True)
class StorageDriverActivityInfo:
    """The activity without a workflow that a payload belongs to, as far as it is known."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


StorageDriverTarget: TypeAlias = StorageDriverActivityInfo | StorageDriverWorkflowInfo | None


@dataclass(frozen=True)
class StorageDriverStoreContext:
    """For whom payloads are stored; None: nobody said."""

    target: StorageDriverTarget = None


@dataclass(frozen=True)
class StorageDriverSelectContext:
    """For whom a payload is stored; None: nobody said."""

    target: StorageDriverTarget = None


@dataclass(frozen=True)
class StorageDriverRetrieveContext:
    """Has nothing to say yet."""


class StorageDriver(ABC):
    """A place for large payloads. Subclass it for an `ExternalStorage`.

    Payloads come as the codec made them. What is stored is never changed; when it may be deleted is the driver's to
    decide: it is needed for as long as the history that refers to it.
    """

    @abstractmethod
    def name(self) -> str:
        """Tells the drivers of one `ExternalStorage` apart. It is part of every reference: never change it."""

    def type(self) -> str:
        """What kind of driver it is, the same in every language; by default the name of its class."""
        return type(self).__name__

    @abstractmethod
    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Store these; one claim for each, in their order."""

    @abstractmethod
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """The payload of each claim, in their order."""


@dataclass(frozen=True)
class ExternalStorage:
    """Where payloads go that are large.

    ``payload_size_threshold``: from so many bytes on, metadata included. ``driver_selector``: which driver takes a
    payload, None to leave it in the database; the only driver by default. ValueError for no driver, for several
    without a selector, and for two of one name.
    """

    drivers: Sequence[StorageDriver]
    driver_selector: Callable[[StorageDriverSelectContext, Payload], StorageDriver | None] | None = None
    payload_size_threshold: int = 256 * 1024

    def __post_init__(self) -> None:
        names = [driver.name() for driver in self.drivers]
        if not names:
            raise ValueError("ExternalStorage needs a driver")
        if len(set(names)) < len(names):
            raise ValueError(f"the drivers of an ExternalStorage have different names; these are {', '.join(names)}")
        if len(names) > 1 and self.driver_selector is None:
            raise ValueError("an ExternalStorage of several drivers needs a driver_selector")
        if self.payload_size_threshold < 0:
            raise ValueError(f"payload_size_threshold is 0 or more, not {self.payload_size_threshold}")

    async def stored(self, payloads: Sequence[Payload], target: StorageDriverTarget) -> list[Payload]:
        """The payloads, with references in place of the large ones."""
        with _blamed():
            chosen = [self._driver_for(payload, target) for payload in payloads]

        async def store(driver: StorageDriver, large: list[Payload]) -> list[Payload]:
            claims = await driver.store(StorageDriverStoreContext(target), large)
            _check_number(driver, "claims", claims, large)
            return [_reference(driver, claim, payload) for claim, payload in zip(claims, large, strict=True)]

        with _blamed():
            return await _by_driver(payloads, chosen, store)

    async def retrieved(self, payloads: Sequence[Payload]) -> list[Payload]:
        """What `stored` was given."""
        with _blamed():
            chosen = [self._driver_of(payload) if is_reference(payload) else None for payload in payloads]

        async def retrieve(driver: StorageDriver, references: list[Payload]) -> list[Payload]:
            claims = [StorageDriverClaim(_told(reference)["claimData"]) for reference in references]
            found = await driver.retrieve(StorageDriverRetrieveContext(), claims)
            _check_number(driver, "payloads", found, claims)
            return found

        with _blamed():
            return await _by_driver(payloads, chosen, retrieve)

    def _driver_for(self, payload: Payload, target: StorageDriverTarget) -> StorageDriver | None:
        if _size(payload) < self.payload_size_threshold:
            return None
        if self.driver_selector is None:
            return self.drivers[0]
        driver = self.driver_selector(StorageDriverSelectContext(target), payload)
        if driver is not None and driver not in self.drivers:
            raise ValueError(f"the driver_selector chose {driver.name()!r}, which is none of the ExternalStorage's")
        return driver

    def _driver_of(self, reference: Payload) -> StorageDriver:
        name = _told(reference)["driverName"]
        for driver in self.drivers:
            if driver.name() == name:
                return driver
        raise ValueError(f"the payload is with the storage driver {name!r}; give it to the ExternalStorage")


def is_reference(payload: Payload) -> bool:
    """Does this stand for a payload that a driver keeps?"""
    return payload.metadata.get("messageType") == REFERENCE and payload.metadata.get("encoding") == ENCODING


def is_of_storage(error: BaseException | None) -> bool:
    """Has an external storage raised this? (The codec before or behind it may have, too.)"""
    return NOTE in getattr(error, "__notes__", ())


@contextmanager
def _blamed() -> Generator[None]:
    """What is raised says that it comes from here."""
    try:
        yield
    except BaseException as error:
        if not is_of_storage(error):
            error.add_note(NOTE)
        raise


def target_of(context: SerializationContext) -> StorageDriverTarget:
    """What drivers hear of a context: the workflow, also of its activities; the activity, of one that has none."""
    match context:
        case WorkflowSerializationContext(namespace, workflow_id):
            return StorageDriverWorkflowInfo(namespace=namespace, id=workflow_id)
        case ActivitySerializationContext(namespace=namespace, workflow_id=str() as workflow_id):
            return StorageDriverWorkflowInfo(namespace=namespace, id=workflow_id, type=context.workflow_type)
        case ActivitySerializationContext(namespace=namespace):
            return StorageDriverActivityInfo(namespace=namespace, id=context.activity_id, type=context.activity_type)
        case _:
            return None


async def _by_driver(
    payloads: Sequence[Payload], drivers: Sequence[StorageDriver | None], ask: Callable[..., Any]
) -> list[Payload]:
    """The payloads, those that have a driver as it answers; each driver is asked once, all at the same time."""
    made = list(payloads)
    places: dict[int, list[int]] = {}
    for at, driver in enumerate(drivers):
        if driver is not None:
            places.setdefault(id(driver), []).append(at)
    answers = [ask(drivers[group[0]], [payloads[at] for at in group]) for group in places.values()]
    for group, answer in zip(places.values(), await together(answers), strict=True):
        for at, payload in zip(group, answer, strict=True):
            made[at] = payload
    return made


def _size(payload: Payload) -> int:
    return len(payload.data) + sum(len(key) + len(value) for key, value in payload.metadata.items())


def _reference(driver: StorageDriver, claim: StorageDriverClaim, payload: Payload) -> Payload:
    told = {"claimData": dict(claim.claim_data), "driverName": driver.name()}
    data = json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
    reference = Payload(metadata={"encoding": ENCODING, "messageType": REFERENCE}, data=data)
    if _size(reference) > _size(payload):
        message = f"the storage driver {driver.name()!r} made a reference that is larger than the payload itself"
        warnings.warn(message, StorageWarning, stacklevel=2)
    return reference


def _told(reference: Payload) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(reference.data))


def _check_number(driver: StorageDriver, what: str, made: Sequence[object], asked: Sequence[object]) -> None:
    if len(made) != len(asked):
        raise ValueError(f"the storage driver {driver.name()!r} returned {len(made)} {what} for {len(asked)}")
