"""Records the corpus of this version: ``python -m tests.corpus``, once, before its release."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import durable
from tests.corpus.recorder import record

directory = Path(__file__).with_name(durable.__version__)
if directory.exists():
    sys.exit(f"{directory} is there: what a version has recorded is never recorded anew")
asyncio.run(record(directory))
print(f"{directory}: {sum(file.stat().st_size for file in directory.iterdir())} bytes")
