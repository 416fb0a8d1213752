"""Runs tests of users in a pytest process of their own, with the plugin, and tells what became of each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import forked


@dataclass(frozen=True)
class Verdict:
    """What became of one test: passed, failed, error (before or after it) or skipped; and what it was told."""

    outcome: str
    told: str


@dataclass(frozen=True)
class Session:
    """A pytest process that has ended.

    ``verdicts`` are by the test's name, ``test_x[a]``; those of files other than test_it.py by ``file::test_x[a]``.
    """

    code: int
    output: str
    verdicts: Mapping[str, Verdict]

    @property
    def outcomes(self) -> dict[str, str]:
        return {name: verdict.outcome for name, verdict in self.verdicts.items()}

    @property
    def only(self) -> Verdict:
        """The verdict of the one test there is."""
        (verdict,) = self.verdicts.values()
        return verdict


class Pytest:
    """An empty folder for tests, and pytest to run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, text: str, *options: str, fresh: bool = False) -> Session:
        """Run the tests in ``text``."""
        return self.run_files({"test_it.py": text}, *options, fresh=fresh)

    def run_files(self, files: Mapping[str, str], *options: str, fresh: bool = False) -> Session:
        """Run the tests in files of these names and texts."""
        for name, text in files.items():
            (self.folder / name).write_text(text)
        return self.again(*options, fresh=fresh)

    def again(self, *options: str, fresh: bool = False) -> Session:
        """Run the tests in the folder; ``fresh``: by a Python that has loaded nothing before."""
        report = self.folder / "report.xml"
        installed = any(each.value == "durable.testing.plugin" for each in entry_points(group="pytest11"))
        arguments = [
            *("-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"),
            *("-p", "no:hypothesispytest"),  # takes its time to load, and no user here needs it
            *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
            *(() if installed else ("-p", "durable.testing.plugin")),
            *options,
        ]
        done = _fresh(arguments, self.folder) if fresh else forked.run(*arguments, directory=self.folder)
        output = done.stdout + done.stderr
        assert report.exists(), output
        return Session(done.returncode, output, _verdicts(report))


def _fresh(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=55)


def _verdicts(report: Path) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        verdict = Verdict("passed", "")
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = {"failure": "failed"}.get(child.tag, child.tag)
                verdict = Verdict(outcome, f"{child.get('message')}\n{child.text}")
        place = (case.get("classname") or "").removeprefix("test_it").removeprefix(".")
        verdicts[f"{place}::{case.get('name')}".removeprefix("::")] = verdict
    report.unlink()
    return verdicts


@pytest.fixture
def users(tmp_path: Path) -> Pytest:
    """A folder of tests that a user might write."""
    return Pytest(tmp_path)
