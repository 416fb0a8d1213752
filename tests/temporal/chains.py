"""Workflows that note things about themselves and follow each other, in the API that both share; see `flows`.

What they read differs from what they must read: then they raise what fails the workflow task, and with it the replay.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable import workflow
from durable.exceptions import ApplicationError


def must_be(value: Any, wanted: Any) -> None:
    if value != wanted:
        raise RuntimeError(f"{value!r} is not {wanted!r}")


@workflow.defn
class Noting:
    """Reads and changes its memo and its search attributes, then continues as new."""

    @workflow.run
    async def run(self, again: bool) -> None:
        info = workflow.info()
        must_be(info.run_timeout, timedelta(minutes=5))
        must_be(info.execution_timeout, timedelta(hours=1))
        must_be(info.retry_policy is not None and info.retry_policy.maximum_attempts, 3)
        customer = info.typed_search_attributes.search_attributes[0].key
        if not again:
            must_be(dict(workflow.memo()), {"kept": 1, "new": [2]})
            must_be(info.typed_search_attributes[customer], "c2")
            must_be(info.continued_run_id is not None, True)
            return
        must_be(dict(workflow.memo()), {"kept": 1, "gone": "soon"})
        must_be(info.typed_search_attributes[customer], "c1")
        workflow.upsert_memo({"gone": None, "new": [2]})
        workflow.upsert_search_attributes([customer.value_set("c2")])
        must_be(dict(workflow.memo()), {"kept": 1, "new": [2]})
        must_be(workflow.info().typed_search_attributes[customer], "c2")
        await workflow.sleep(0.01, summary="a nap")
        must_be(workflow.info().get_current_history_size() > 0, True)
        must_be(workflow.info().is_continue_as_new_suggested(), False)
        workflow.continue_as_new(False)


@workflow.defn
class Ticking:
    """Each run knows what the ones before have come to."""

    @workflow.run
    async def run(self) -> int:
        count = workflow.get_last_completion_result(int) or 0
        failure = workflow.get_last_failure()
        must_be(workflow.has_last_completion_result(), count > 0)
        must_be(workflow.info().cron_schedule, "@every 20ms")
        if count == 2 and failure is None:
            raise ApplicationError("third time unlucky", type="Third")
        must_be(failure is None or (isinstance(failure, ApplicationError) and failure.type), count < 2 or "Third")
        return count + 1


WORKFLOWS = [Noting, Ticking]
