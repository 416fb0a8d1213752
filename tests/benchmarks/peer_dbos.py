"""DBOS, measured as we are: W1 to W4, client and worker in one process; it runs where DBOS is installed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
from dbos import DBOS, SetWorkflowID  # pyright: ignore[reportMissingImports]

from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies, peak_mib

WARM_UP = 20


@DBOS.step()
async def trivial(number: int) -> dict[str, int]:
    return {"number": number, "double": 2 * number}


@DBOS.workflow()
async def one_step(number: int) -> dict[str, int]:
    result: dict[str, int] = await trivial(number)
    return result


@DBOS.workflow()
async def in_sequence(count: int) -> int:
    total = 0
    for number in range(count):
        total += (await trivial(number))["number"]
    return total


@DBOS.workflow()
async def all_at_once(count: int) -> int:
    return sum(each["number"] for each in await asyncio.gather(*[trivial(number) for number in range(count)]))


async def execute(workflow: Any, argument: int, id: str) -> Any:
    with SetWorkflowID(id):
        handle = await DBOS.start_workflow_async(workflow, argument)
    return await handle.get_result()


async def measure(name: str, sizes: Sizes, url: str) -> dict[str, float]:
    await in_flight(lambda number: execute(one_step, number, f"warm-{number}"), WARM_UP, 1)
    times, count = None, {"W1": sizes.w1_runs, "W2": sizes.w2_workflows, "W3": sizes.w3_activities}.get(name)
    count = count or sizes.w4_activities
    cpu = Cpu(url)
    if name == "W1":
        times = await latencies(lambda number: execute(one_step, number, f"one-{number}"), count)
    elif name == "W2":
        await in_flight(lambda number: execute(one_step, number, f"many-{number}"), count, sizes.w2_in_flight)
    else:
        assert await execute(in_sequence if name == "W3" else all_at_once, count, "the-one") == sum(range(count))
    figures = {"per_s": count / cpu.elapsed_s, "cpu_us": 1e6 * cpu.used_s / count}
    if times is not None:
        figures |= {"p50_ms": times.p50_ms, "p95_ms": times.p95_ms, "p99_ms": times.p99_ms}
    if url.startswith("postgres"):
        figures["server_us"] = 1e6 * cpu.server_s / count
    return {**figures, "peak_mib": peak_mib()}


async def main(name: str, sizes: str, url: str) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "WARNING"})
    DBOS.launch()
    figures = await measure(name, msgspec.json.decode(sizes, type=Sizes), url)
    print(msgspec.json.encode(figures).decode(), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
