"""Pure: what in workflow code a replay would not repeat, found in its source; nothing is imported or run.

`check` takes the sources of a program and answers with findings; `RULES` says what is looked for. What is found is
workflow code: the methods of workflow classes that the engine calls, workflow functions, and whatever these lead to in
the same sources. Activities run elsewhere, and may do all.
"""

from durable.check.checker import Finding, check
from durable.check.program import Unreadable
from durable.check.rules import RULES, Rule

__all__ = ["RULES", "Finding", "Rule", "Unreadable", "check"]
