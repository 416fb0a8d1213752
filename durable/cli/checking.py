"""The command that looks for what a replay would not repeat: `check`."""

from __future__ import annotations

import tokenize
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from durable.check import RULES, Unreadable
from durable.check import check as find
from durable.cli import show
from durable.cli.say import say

NOT_ALL_READ = 2
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv"}


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


Rules = Annotated[
    list[str] | None,
    typer.Option(metavar="RULE", help="Only these: DUR101, or a beginning, DUR1; repeatable.", show_default=False),
]


def check(
    path: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Python files, or directories of them.", show_default=False),
    ] = None,
    select: Rules = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Not these: as --select.", show_default=False),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print findings.")] = Format.TEXT,
    rules: Annotated[bool, typer.Option("--rules", help="Print the rules instead.")] = False,
) -> None:
    """Find in workflow code what a replay would not repeat, without running it; 1: something was found."""
    if rules:
        for rule in RULES.values():
            show.line(f"{rule.id} {rule.name}: {rule.what}; {rule.instead}")
        return
    if not path:
        raise typer.BadParameter("name the files or directories to check")
    wanted = _chosen(select or [""], list(RULES)) - _chosen(ignore or [], list(RULES))
    unreadable: list[Unreadable] = []
    sources: dict[str, str] = {}
    files = _files(path)
    for file in files:
        try:
            sources[str(file)] = _text(file)
        except Unreadable as error:
            unreadable.append(error)
    findings = find(sources, wanted, unreadable.append)
    if format is Format.JSON:
        show.as_json(
            [
                {**msgspec.to_builtins(each), "name": RULES[each.rule].name, "sentence": each.sentence}
                for each in findings
            ]
        )
    else:
        for each in findings:
            show.line(f"{each.path}:{each.line}:{each.column}: {each.rule} {each.sentence}")
        say(f"{len(findings) or 'nothing'} found in {len(files) - len(unreadable)} files")
    for why in unreadable:
        say(f"not checked: {why}")
    if unreadable:
        raise typer.Exit(NOT_ALL_READ)
    raise typer.Exit(1 if findings else 0)


def _text(file: Path) -> str:
    """In the encoding that Python takes it to be."""
    try:
        with tokenize.open(file) as source:
            return source.read()
    except (OSError, SyntaxError, UnicodeError, LookupError) as error:  # LookupError: its encoding is none of text
        raise Unreadable(f"{file} can't be read: {error}") from error


def _chosen(beginnings: list[str], rules: list[str]) -> set[str]:
    """The rules that begin so; wrong usage where none does."""
    found: set[str] = set()
    for beginning in (each.strip() for given in beginnings for each in given.split(",")):
        matching = {rule for rule in rules if rule.startswith(beginning.upper())}
        if not matching:
            raise typer.BadParameter(f"there is no rule {beginning}: see --rules")
        found |= matching
    return found


def _files(paths: list[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise typer.BadParameter(f"there is no {path}")
        inside = sorted(file for file in path.rglob("*.py") if _is_file(file)) if path.is_dir() else [path]
        found.update(dict.fromkeys(file for file in inside if not _is_skipped(file.relative_to(path))))
    return list(found)


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return True  # reading it tells why not


def _is_skipped(file: Path) -> bool:
    return any(part in _SKIPPED or part.startswith(".") for part in file.parts)
