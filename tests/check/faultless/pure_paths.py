"""Paths that are only taken apart."""

# ruff: noqa
import os.path
from pathlib import Path, PurePosixPath

from durable import activity, workflow


@workflow.defn
async def rename(file: str) -> str:
    path = Path(file)
    return os.path.join(str(path.parent), path.stem + PurePosixPath(file).suffix)
