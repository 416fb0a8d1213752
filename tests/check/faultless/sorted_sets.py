"""Sets that are sorted, counted, looked into, or of numbers."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay_all(orders: list[str]) -> int:
    unique = set(orders)
    for order in sorted(unique):
        await charge(order)
    for retry in {1, 2, 3}:
        await workflow.sleep(retry)
    total = 0
    for order in unique:
        total += len(order)
    longest = sum([len(order) for order in unique]) + len(sorted(list(unique)))
    names = []
    for order in unique:
        names.append(order)
    names.sort()
    return total + longest + len(unique) if "x" in unique else max(map(len, unique))
