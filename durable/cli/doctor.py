"""`durable doctor`: what an examination found, for people and for machines."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import durable
from durable.history.host import Machine
from durable.history.upkeep.examination import examine as examine_database
from durable.history.upkeep.finding import Finding, Grade, ok, worst

MARKS = {Grade.OK: "ok", Grade.WARNING: "warning", Grade.BAD: "bad"}
MARK_WIDTH = max(map(len, MARKS.values()))


class Report(NamedTuple):
    findings: Sequence[Finding]

    @property
    def exit_code(self) -> int:
        """0: ok, or warnings. 1: something is bad."""
        return int(worst(self.findings) is Grade.BAD)

    @property
    def lines(self) -> list[str]:
        """One a finding, with its advice in a line below; then the sum."""
        told = [
            f"{MARKS[each.grade]:{MARK_WIDTH}}  {each.check}: {each.told}"
            + (f"\n→ {each.advice}" if each.advice else "")
            for each in self.findings
        ]
        counts = [(mark, sum(each.grade is grade for each in self.findings)) for grade, mark in MARKS.items()]
        return [*told, ", ".join(f"{count} {mark}" for mark, count in counts)]

    @property
    def for_machine(self) -> dict[str, Any]:
        return {
            "verdict": MARKS[worst(self.findings)],
            "checks": [
                {"check": each.check, "grade": MARKS[each.grade], "told": each.told, "advice": each.advice}
                for each in self.findings
            ],
        }


async def examine(address: str) -> Report:
    versions = ok("versions", f"durable {durable.__version__}, Python {platform.python_version()}, {platform.system()}")
    return Report([versions, *await examine_database(address, Machine())])
