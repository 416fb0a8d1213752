"""FastAPI with a worker of its own: each order is a workflow that requests start, ask, tell, call and wait for.

    python samples/fastapi_app.py                              # then look at http://127.0.0.1:8000/docs
    uvicorn --app-dir samples fastapi_app:app --workers 4      # or so: four processes share the one file

Stop it while an order waits, and start it again: the order is still there.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse

from durable import activity, workflow
from durable.client import RPCError, WorkflowHandle, WorkflowUpdateFailedError
from durable.common import WorkflowIDReusePolicy
from durable.contrib.fastapi import DurableClient, durable_lifespan, health
from durable.exceptions import ApplicationError, WorkflowAlreadyStartedError
from durable.service import RPCStatusCode

ONCE = WorkflowIDReusePolicy.REJECT_DUPLICATE
PRICES = {"tea": 400, "cake": 350}


@dataclass
class Status:
    items: list[str]
    paid: bool


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def serve(items: list[str]) -> str:
    return f"{' and '.join(items)}, for {sum(PRICES[item] for item in items)} cents"


@workflow.defn
class Order:
    @workflow.init
    def __init__(self, item: str) -> None:
        self._status = Status([item], paid=False)

    @workflow.run
    async def run(self, item: str) -> str:
        await workflow.wait_condition(lambda: self._status.paid)
        return await serve(self._status.items)

    @workflow.query
    def status(self) -> Status:
        return self._status

    @workflow.signal
    def pay(self) -> None:
        self._status.paid = True

    @workflow.update
    def add(self, item: str) -> int:
        self._status.items.append(item)
        return len(self._status.items)

    @add.validator
    def only_what_there_is(self, item: str) -> None:
        if item not in PRICES:
            raise ApplicationError(f"no {item} today")


app = FastAPI(lifespan=durable_lifespan("sqlite:///durable.db", workflows=[Order], activities=[serve]))
app.get("/health")(health)


def order(client: DurableClient, id: str) -> WorkflowHandle[Order, str]:
    return client.get_workflow_handle_for(Order.run, f"order-{id}")


@app.post("/orders/{id}", status_code=201)
async def begin(id: str, item: str, client: DurableClient) -> None:
    """Durable when the answer is there. Whoever gets none may ask again: of this id there is one order, for ever."""
    try:
        await client.start_workflow(Order.run, item, id=f"order-{id}", id_reuse_policy=ONCE)
    except WorkflowAlreadyStartedError:
        raise HTTPException(409, f"order {id} is there already") from None


@app.get("/orders/{id}")
async def look(id: str, client: DurableClient) -> Status:
    return await order(client, id).query(Order.status)


@app.post("/orders/{id}/items")
async def add(id: str, item: str, client: DurableClient) -> int:
    try:
        return await order(client, id).execute_update(Order.add, item)
    except WorkflowUpdateFailedError as error:
        raise HTTPException(422, str(error.cause)) from None


@app.post("/orders/{id}/payment", status_code=202)
async def pay(id: str, client: DurableClient) -> None:
    await order(client, id).signal(Order.pay)


@app.get("/orders/{id}/meal")
async def wait(id: str, client: DurableClient, response: Response, seconds: float = 20) -> str | None:
    """A long poll. It has an end, as every request should: a server that stops waits for those under way."""
    try:
        async with asyncio.timeout(seconds):
            return await order(client, id).result()
    except TimeoutError:
        response.status_code = 202  # not yet; ask again
        return None


@app.exception_handler(RPCError)
async def refused(request: object, error: RPCError) -> JSONResponse:
    return JSONResponse({"detail": error.message}, status_code=404 if error.status == RPCStatusCode.NOT_FOUND else 503)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if sys.argv[1:] else 8000)
