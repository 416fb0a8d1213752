"""Workers are killed around a call that pays money back: with a verify function, with a key that the service honours,
and, to show that these tests can fail, with neither."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence

import pytest

from durable import Client
from durable.history import attempts
from tests.chaos.places import Place
from tests.faults.conftest import worker_for
from tests.faults.refunds import ASKING, LEASE, POINTS, Scene, Service, refund_in, refunding, work
from tests.forkserver import processes

MANY = 1000
SEED = 20_261_123
POINTS_AND_ASKING = (*POINTS[:-1], ASKING, POINTS[-1])
"""Whoever is to die asking comes after one that leaves something to ask about: not after "recorded"."""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an activity whose worker has died twice in a row."""
    monkeypatch.setattr(attempts, "LOST_RETRY_FIRST_US", 1)


async def refunded(place: Place, service: Service, *, verifies: bool, points: Sequence[str]) -> int:
    """One order for each point, at which its worker is killed; then all are brought to their end. How many were asked
    for; each order's result is the number of a refund of its own."""
    scene = Scene(place.address, service.port, verifies)
    async with await Client.connect(place.address) as client:
        handles = []
        for number, point in enumerate(points):
            handles.append(await client.start_workflow(refunding, f"order-{number}", id=f"order-{number}"))
            child = processes.Process(target=work, args=(scene, point), daemon=True)
            child.start()
            await asyncio.to_thread(child.join)
            assert child.exitcode == -signal.SIGKILL
        async with worker_for(client, refunding, refund_in(scene, ""), lease=LEASE):
            results = await asyncio.gather(*(handle.result() for handle in handles))
    assert [service.paid[result][0] for result in results] == [handle.id for handle in handles]
    return len(handles)


def duplicates(service: Service) -> int:
    return sum(times - 1 for times in service.times().values())


def chosen(count: int, points: Sequence[str]) -> list[str]:
    """Points by chance, in such an order."""
    chance, found = random.Random(SEED), ["effect"]
    while len(found) < count:
        point = chance.choice(points)
        if (found[-1], point) != ("recorded", ASKING):
            found.append(point)
    return found


async def show_none_twice_and_none_lost(place: Place, *, verifies: bool, points: Sequence[str]) -> None:
    async with Service(honours_keys=not verifies) as service:
        orders = await refunded(place, service, verifies=verifies, points=points)
    lost = orders - len(service.times())
    how = "with a verify function" if verifies else "with a key that the service honours"
    print(f"{how}: {orders} workers killed, {duplicates(service)} refunds twice, {lost} lost")
    assert (duplicates(service), lost) == (0, 0)


async def test_with_a_verify_function_no_refund_is_made_twice_and_none_is_lost(place: Place) -> None:
    await show_none_twice_and_none_lost(place, verifies=True, points=POINTS_AND_ASKING)


async def test_with_a_key_that_the_service_honours_no_refund_is_made_twice_and_none_is_lost(place: Place) -> None:
    await show_none_twice_and_none_lost(place, verifies=False, points=POINTS)


async def test_with_neither_each_death_between_effect_and_record_makes_a_refund_twice(place: Place) -> None:
    async with Service(honours_keys=False) as service:
        await refunded(place, service, verifies=False, points=POINTS)

    assert duplicates(service) >= len({"effect", "reply", "commit"})


@pytest.mark.all
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verifies", [True, False], ids=["verify", "key"])
async def test_of_a_thousand_killed_workers_none_makes_a_refund_twice_or_loses_one(
    place: Place, verifies: bool
) -> None:
    points = chosen(MANY, POINTS_AND_ASKING if verifies else POINTS)
    await show_none_twice_and_none_lost(place, verifies=verifies, points=points)
