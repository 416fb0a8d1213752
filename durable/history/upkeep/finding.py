"""What an examination finds: one sentence a check, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct


class Grade(IntEnum):
    """``BAD``: work is or will be lost or stand still. ``WARNING``: it may, in circumstances that the finding tells."""

    OK = 0
    WARNING = 1
    BAD = 2


class Finding(Struct, frozen=True):
    """``advice`` is what to do; "" where there is nothing to do, or where the sentence says it."""

    check: str
    grade: Grade
    told: str
    advice: str = ""


def ok(check: str, told: str) -> Finding:
    return Finding(check, Grade.OK, told)


def warning(check: str, told: str, advice: str) -> Finding:
    return Finding(check, Grade.WARNING, told, advice)


def bad(check: str, told: str, advice: str = "") -> Finding:
    return Finding(check, Grade.BAD, told, advice)


def worst(findings: Iterable[Finding]) -> Grade:
    return max((finding.grade for finding in findings), default=Grade.OK)


def duration(us: int) -> str:
    """A length of time in the unit that a person would take."""
    seconds = us / 1_000_000
    for length, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{us / 1000:.1f} ms"


def size(count: int) -> str:
    """A number of bytes in the unit that a person would take."""
    for length, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
