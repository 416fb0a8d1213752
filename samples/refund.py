"""A call whose end nobody knows: the worker dies after the bank has paid, and the next attempt asks the bank first.

    python samples/refund.py

runs a bank that counts what it pays back, and kills the worker when the money is gone and the answer not yet there.
"""

import asyncio
import json
import sys
import threading
import uuid
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from durable import Client, Worker, activity, workflow
from durable.activity import Happened

TASK_QUEUE = "refunds"


class Bank(ThreadingHTTPServer):
    """Pays whenever it is asked to, and tells by a caller's key what it has paid."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Desk)
        self.paid: list[dict[str, Any]] = []
        self.has_paid, self.may_answer = threading.Event(), threading.Event()


class Desk(BaseHTTPRequestHandler):
    @property
    def bank(self) -> Bank:
        assert isinstance(self.server, Bank)
        return self.server

    def do_POST(self) -> None:
        refund = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bank.paid.append(refund)
        self.bank.has_paid.set()
        self.bank.may_answer.wait()
        self.answer(200, {"number": len(self.bank.paid)})

    def do_GET(self) -> None:
        for number, refund in enumerate(self.bank.paid, 1):
            if self.path == f"/refunds/{refund['key']}":
                return self.answer(200, {"number": number})
        self.answer(404, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        try:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())
        except ConnectionError:
            pass  # whoever asked is dead

    def log_message(self, format: str, *args: Any) -> None:
        pass


def has_paid(bank: str, order: str, cents: int) -> Happened | None:
    """Asked before the code runs again, if nobody knows how it ended: by the key that all attempts have in common."""
    try:
        with urlopen(f"{bank}/refunds/{activity.info().idempotency_key}") as answer:
            number = json.load(answer)["number"]
    except HTTPError as error:
        if error.code == 404:
            return None  # it has not happened: the code runs, in this same attempt
        raise  # still unknown: the next attempt asks again
    print(f"the bank has paid already: refund {number}", flush=True)
    return Happened(f"refund {number} of {cents} cents for {order}")


@activity.defn(start_to_close_timeout=timedelta(minutes=1), after_crash=has_paid)
def refund(bank: str, order: str, cents: int) -> str:
    asked = {"key": activity.info().idempotency_key, "order": order, "cents": cents}
    print(f"asking the bank to pay {order}", flush=True)
    with urlopen(Request(f"{bank}/refunds", json.dumps(asked).encode())) as answer:
        return f"refund {json.load(answer)['number']} of {cents} cents for {order}"


@workflow.defn
async def pay_back(bank: str, order: str, cents: int) -> str:
    return await workflow.execute_activity(refund, args=[bank, order, cents])


async def work() -> None:
    async with await Client.connect() as client:
        await Worker(client, task_queue=TASK_QUEUE, workflows=[pay_back], activities=[refund]).run()


async def new_worker() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, __file__, "worker")


async def main() -> None:
    bank = Bank()
    threading.Thread(target=bank.serve_forever, daemon=True).start()
    async with await Client.connect() as client:
        name = f"refund-{uuid.uuid4().hex[:8]}"
        address = f"http://127.0.0.1:{bank.server_port}"
        run = await client.start_workflow(pay_back, args=[address, "the kettle", 2500], id=name, task_queue=TASK_QUEUE)
        first = await new_worker()
        await asyncio.to_thread(bank.has_paid.wait)
        first.kill()
        await first.wait()
        bank.may_answer.set()
        print("the bank has paid; its caller is dead")
        second = await new_worker()
        print(f"result: {await run.result()}")
        second.terminate()
        await second.wait()
    print(f"paid {len(bank.paid)} time(s)")


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1:] == ["worker"] else main())
