"""Replays histories in other Python processes, whose strings hash otherwise: what iterates over a set shows there."""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from durable.client import WorkflowHistory
from durable.worker.interceptor import Interceptor
from durable.worker.replayer import Replayer

HASH_SEEDS = ("1", "2", "3")
PATIENCE = 60.0


@dataclass(frozen=True)
class Finding:
    """What other processes found. ``unchecked`` says why something could not be replayed there; "" when all was."""

    difference: str = ""
    unchecked: str = ""


class Elsewhere:
    """Other Python processes, which replay what they are given, until `close`. To begin one takes longer than that."""

    def __init__(self) -> None:
        self._children = [_begin(seed) for seed in HASH_SEEDS]

    def close(self) -> None:
        self._kill()
        for child in self._children:
            child.communicate()

    def replay(
        self,
        workflows: Mapping[str, Any],
        histories: Sequence[WorkflowHistory],
        interceptors: Sequence[Interceptor] = (),
    ) -> Finding:
        """Replay ``histories`` on ``workflows`` (by name), which each process imports by itself.

        A workflow that is defined inside a function can't be imported, and its histories are left out. The
        interceptors go there as pickles.
        """
        hidden = [name for name, workflow in workflows.items() if "<locals>" in workflow.__qualname__]
        known = {name: workflow for name, workflow in workflows.items() if name not in hidden}
        unchecked = f"defined inside a function: {', '.join(hidden)}" if hidden else ""
        chosen = [each for each in histories if each.events[0].workflow_type in known]  # type: ignore[union-attr]
        if not chosen:
            return Finding(unchecked=unchecked)
        try:
            pickled = pickle.dumps(list(interceptors))
        except Exception as error:
            return Finding(unchecked=f"the interceptors can't be pickled ({error})")
        answers = self._ask(
            {
                "path": sys.path,
                "workflows": [_place(workflow) for workflow in known.values()],
                "interceptors": base64.b64encode(pickled).decode(),
                "histories": [(history.workflow_id, history.to_json_dict()) for history in chosen],
            }
        )
        if answers is None:
            self.close()
            self._children = [_begin(seed) for seed in HASH_SEEDS]
            return Finding(unchecked=f"a process has ended, or was not ready within {PATIENCE:g} s")
        for answer in answers:
            if answer.difference or answer.unchecked:
                return answer
        return Finding(unchecked=unchecked)

    def _ask(self, task: dict[str, Any]) -> list[Finding] | None:
        line = json.dumps(task)
        late = threading.Timer(PATIENCE, self._kill)
        late.start()
        try:
            for child in self._children:
                print(line, file=child.stdin, flush=True)
            return [Finding(**json.loads(child.stdout.readline())) for child in self._children if child.stdout]
        except (BrokenPipeError, json.JSONDecodeError):
            return None
        finally:
            late.cancel()

    def _kill(self) -> None:
        for child in self._children:
            child.kill()


def _begin(seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
    )


def _place(workflow: Any) -> tuple[str, str | None, str]:
    module = sys.modules.get(workflow.__module__)
    return workflow.__module__, getattr(module, "__file__", None), workflow.__qualname__


def _find(name: str, file: str | None, qualified_name: str) -> Any:
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError:
        if file is None:
            raise
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        found = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found


async def _replay(task: dict[str, Any]) -> str:
    replayer = Replayer(
        workflows=[_find(*place) for place in task["workflows"]],
        interceptors=pickle.loads(base64.b64decode(task["interceptors"])),
        exact=True,
        workflow_failure_exception_types=[AssertionError],
    )

    async def histories() -> AsyncGenerator[WorkflowHistory]:
        for workflow_id, history in task["histories"]:
            yield WorkflowHistory.from_json(workflow_id, history)

    async with replayer.workflow_replay_iterator(histories()) as results:
        async for result in results:
            if result.replay_failure is not None:
                return f"workflow {result.history.workflow_id!r}: {result.replay_failure}"
    return ""


def _answer(task: dict[str, Any]) -> Finding:
    sys.path[:] = task["path"]
    try:
        return Finding(difference=asyncio.run(_replay(task)))
    except (Exception, SystemExit) as error:  # whatever the user's modules do when they are imported
        return Finding(unchecked=f"{type(error).__name__}: {error}")


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # what modules print when they are imported is no answer
    for line in sys.stdin:
        print(json.dumps(asdict(_answer(json.loads(line)))), file=answer, flush=True)


if __name__ == "__main__":
    main()
