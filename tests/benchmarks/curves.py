"""Cost as it grows: the same work again, with ten times as much of something; once, on a database of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from durable import Client
from tests.benchmarks import bulk, claim
from tests.benchmarks.definitions import Counted, echo_workflow, in_sequence, one_activity
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies
from tests.benchmarks.standing import replayed
from tests.benchmarks.workloads import running

AT_ONCE = 200
PAYLOADS_AT_ONCE = 20
PAYLOADS_KB_MAX = 20_000
"""So many in all, at the most: what is large is measured on fewer."""

Point = dict[str, float]


class Curve(Struct, frozen=True):
    """``x`` is what grows; ``lines`` are what is measured: label and unit by key."""

    title: str
    x: str
    lines: dict[str, tuple[str, str]]


CURVES = {
    "in-flight": Curve(
        "Workflows in flight",
        "workflows in flight",
        {"per_s": ("W2", "workflows/s"), "cpu_us": ("CPU a workflow", "µs")},
    ),
    "history": Curve(
        "Length of one history",
        "events in the history",
        {"append_us": ("append an event", "µs"), "replay_us": ("replay an event", "µs")},
    ),
    "closed": Curve(
        "Closed runs in the tables",
        "closed runs",
        {"per_s": ("W2", "workflows/s"), "p50_ms": ("W1 p50", "ms")},
    ),
    "timers": Curve(
        "Pending timers",
        "pending timers",
        {"per_s": ("W2", "workflows/s"), "claim_ms": ("a claim, p50", "ms")},
    ),
    "signals": Curve(
        "Signals to one run",
        "signals",
        {"sent_per_s": ("sent", "signals/s"), "read_per_s": ("sent and read", "signals/s")},
    ),
    "payload": Curve(
        "Size of argument and result",
        "KB, each",
        {"per_s": ("workflows", "workflows/s"), "mb_per_s": ("argument and result", "MB/s")},
    ),
}


async def flight(sizes: Sizes, url: str) -> list[Point]:
    async with running(url) as client:
        return [
            {"x": at_once, **await many(client, f"{at_once}", max(at_once, sizes.curve_workflows), at_once)}
            for at_once in sizes.in_flight
        ]


async def many(client: Client, name: str, count: int, at_once: int = AT_ONCE) -> Point:
    """W2."""

    async def one(number: int) -> None:
        await client.execute_workflow(one_activity, number, id=f"many-{name}-{number}")

    cpu = Cpu()
    await in_flight(one, count, at_once)
    return {"per_s": count / cpu.elapsed_s, "cpu_us": 1e6 * cpu.used_s / count}


async def history(sizes: Sizes, url: str) -> list[Point]:
    """Activities one after another: six events each. A run at a time, so that each begins with none."""
    points: list[Point] = []
    async with running(url) as client:
        for length in sizes.events:
            cpu = Cpu()
            handle = await client.start_workflow(in_sequence, (length - 5) // 6, id=f"long-{length}")
            await handle.result()
            appended_s = cpu.elapsed_s
            events, replayed_s = await replayed(client, handle)
            points.append({"x": events, "append_us": 1e6 * appended_s / events, "replay_us": 1e6 * replayed_s / events})
    return points


async def closed(sizes: Sizes, url: str) -> list[Point]:
    points: list[Point] = []
    there = 0
    for count in sizes.closed:
        if count > there:
            async with running(url) as client:
                handle = await client.start_workflow(one_activity, 1, id=f"original-{count}")
                await handle.result()
            assert handle.result_run_id is not None
            await bulk.execute(url, bulk.closed_runs(handle.result_run_id, there, count))
            there = count
        async with running(url) as client:
            point = await many(client, f"{count}", sizes.curve_workflows)
            times = await latencies(
                lambda number, client=client, count=count: client.execute_workflow(
                    one_activity, number, id=f"one-{count}-{number}"
                ),
                sizes.claims,
            )
        points.append({"x": count, "per_s": point["per_s"], "p50_ms": times.p50_ms})
    return points


async def timers(sizes: Sizes, url: str) -> list[Point]:
    points: list[Point] = []
    asleep = there = await claim.sleepers(url, sizes.timers[0] // 10)
    for count in sizes.timers:
        await bulk.execute(url, bulk.timers(there, count, asleep))
        there = count
        claim_ms = await claim.claims(url, sizes.claims, f"{count}")
        async with running(url) as client:
            point = await many(client, f"{count}", sizes.curve_workflows)
        points.append({"x": count, "per_s": point["per_s"], "claim_ms": claim_ms})
    return points


async def signals(sizes: Sizes, url: str) -> list[Point]:
    points: list[Point] = []
    async with running(url) as client:
        for count in sizes.signals:
            handle = await client.start_workflow(Counted.run, count, id=f"counted-{count}")
            cpu, sending = Cpu(), Cpu()
            await in_flight(lambda number, handle=handle: handle.signal(Counted.one, number), count, AT_ONCE)
            sent_s = sending.elapsed_s
            assert await handle.result() == count * (count - 1) // 2
            points.append({"x": count, "sent_per_s": count / sent_s, "read_per_s": count / cpu.elapsed_s})
    return points


async def payload(sizes: Sizes, url: str) -> list[Point]:
    """The text is the workflow's argument and result and its activity's."""
    points: list[Point] = []
    async with running(url) as client:
        for kb in sizes.payload_kb:
            count = max(1, min(sizes.payload_workflows, PAYLOADS_KB_MAX // kb))
            text = "x" * (1000 * kb)

            async def one(number: int, text: str = text) -> None:
                size = len(text) // 1000
                assert await client.execute_workflow(echo_workflow, text, id=f"payload-{size}-{number}") == text

            cpu = Cpu()
            await in_flight(one, count, PAYLOADS_AT_ONCE)
            per_s = count / cpu.elapsed_s
            points.append({"x": kb, "per_s": per_s, "mb_per_s": 2 * kb / 1000 * per_s})
    return points


MEASURES: dict[str, Callable[[Sizes, str], Awaitable[list[Point]]]] = {
    "in-flight": flight,
    "history": history,
    "closed": closed,
    "timers": timers,
    "signals": signals,
    "payload": payload,
}
