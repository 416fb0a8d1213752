"""Replays histories in other Python processes, whose strings hash otherwise: what iterates over a set shows there."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from durable.client import WorkflowHistory
from durable.worker.replayer import Replayer

HASH_SEEDS = ("1", "2", "3")
PATIENCE = 60.0


@dataclass(frozen=True)
class Elsewhere:
    """What other processes found. ``unchecked`` says why something could not be replayed there; "" when all was."""

    difference: str
    unchecked: str


def replay_elsewhere(workflows: Mapping[str, Any], histories: Sequence[WorkflowHistory]) -> Elsewhere:
    """Replay ``histories`` on ``workflows`` (by name) in processes of their own, which import them anew.

    A workflow that is defined inside a function can't be imported, and its histories are left out.
    """
    hidden = [name for name, workflow in workflows.items() if "<locals>" in workflow.__qualname__]
    known = {name: workflow for name, workflow in workflows.items() if name not in hidden}
    unchecked = f"defined inside a function: {', '.join(hidden)}" if hidden else ""
    chosen = [history for history in histories if history.events[0].workflow_type in known]  # type: ignore[union-attr]
    if not chosen:
        return Elsewhere("", unchecked)
    task = json.dumps(
        {
            "path": sys.path,
            "workflows": [_place(workflow) for workflow in known.values()],
            "histories": [(history.workflow_id, history.to_json_dict()) for history in chosen],
        }
    )
    children = [_begin(seed) for seed in HASH_SEEDS]
    try:
        answers = [child.communicate(task, timeout=PATIENCE) for child in children]
    except subprocess.TimeoutExpired:
        return Elsewhere("", f"not replayed within {PATIENCE:g} s")
    finally:
        for child in children:
            child.kill()
            child.wait()
    for child, (said, complaint) in zip(children, answers, strict=True):
        if child.returncode:
            return Elsewhere("", complaint.strip().rpartition("\n")[2])
        if said:
            return Elsewhere(said, unchecked)
    return Elsewhere("", unchecked)


def _begin(seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
        workflows=[_find(*place) for place in task["workflows"]], workflow_failure_exception_types=[AssertionError]
    )

    async def histories() -> AsyncGenerator[WorkflowHistory]:
        for workflow_id, history in task["histories"]:
            yield WorkflowHistory.from_json(workflow_id, history)

    async with replayer.workflow_replay_iterator(histories()) as results:
        async for result in results:
            if result.replay_failure is not None:
                return f"workflow {result.history.workflow_id!r}: {result.replay_failure}"
    return ""


def main() -> None:
    task = json.load(sys.stdin)
    sys.path[:] = task["path"]
    answer, sys.stdout = sys.stdout, sys.stderr  # what modules print when they are imported is no answer
    answer.write(asyncio.run(_replay(task)))


if __name__ == "__main__":
    main()
