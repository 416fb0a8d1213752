"""The reference pages say what the code says: commands, settings, limits, events, errors, and tests that are named."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import Enum
from importlib import import_module
from typing import Any, get_args

import pytest
import typer
from typer.main import get_command

from durable import Client, Worker
from durable.cli.commands import app
from durable.history.events import Event, HistoryEvent
from tests.pages import DOCS, PAGES, ROOT, page_name
from tests.public import MODULES, names

OF_ALL_COMMANDS = {"--address", "--namespace", "--run-id"}
OF_EVERY_EVENT = set(Event.__struct_fields__)
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)


def text(page: str) -> str:
    return (DOCS / page).read_text()


def section(page: str, title: str) -> str:
    return text(page).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(of: str) -> list[list[str]]:
    return [row.split(" | ") for row in ROW.findall(of)]


def code(of: str) -> list[str]:
    return re.findall(r"`([^`]+)`", of)


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


def undocumented(group: Any, page: str) -> list[str]:
    """Commands that have no part of the page, and options that their part does not name."""
    parts = re.split(r"^(?=\*\*`durable )", page, flags=re.MULTILINE)
    missing: list[str] = []
    for name, command in commands(group):
        own = "".join(part for part in parts if re.search(rf"\*\*`durable {name}\b", part))
        missing += [] if own else [f"durable {name}"]
        for option in command.params:
            if option.param_type_name == "option" and not OF_ALL_COMMANDS & set(option.opts):
                said = any(re.search(rf"{name}\b", own) for name in option.opts)
                missing += [] if said else [f"durable {name} {option.opts[0]}"]
    return missing


def test_every_command_and_every_option_is_documented() -> None:
    missing = undocumented(get_command(app), text("cli.md"))

    assert not missing, "not in docs/cli.md: " + ", ".join(missing)
    assert all(f"`{option}`" in text("cli.md") for option in OF_ALL_COMMANDS)


def test_what_a_page_does_not_say_of_a_command_is_named() -> None:
    program = typer.Typer()

    @program.command()
    def listed(limit: int = 3, other: bool = False) -> None: ...

    @program.command()
    def unheard() -> None: ...

    page = "**`durable listed`** takes `--limit`."

    assert undocumented(get_command(program), page) == ["durable listed --other", "durable unheard"]


def shown(default: Any) -> str | None:
    """As the page shows a default; None for an object that has no short form."""
    match default:
        case timedelta():
            return f"{default.total_seconds():g} s"
        case Enum():
            return default.name
        case bool() | None | str() | ():
            return repr(default)
        case int() | float():
            return f"{default:,}"
        case _:
            return None


@pytest.mark.parametrize(
    ("title", "function", "first"), [("Client.connect", Client.connect, None), ("Worker", Worker, "client")]
)
def test_every_setting_is_documented_with_its_default(
    title: str, function: Callable[..., Any], first: str | None
) -> None:
    page = section("reference/configuration.md", title)
    table = {code(row[0])[0]: row[1] for row in rows(page) if code(row[0])}
    parameters = {each.name: each.default for each in inspect.signature(function).parameters.values()}
    parameters.pop(first, None)

    missing = sorted(set(parameters) - set(code(page)))
    stale = sorted(set(table) - set(parameters))
    wrong = {name: shown(parameters[name]) for name, said in table.items() if f"`{shown(parameters[name])}`" != said}

    assert not missing, f"not in docs/reference/configuration.md under {title}: {missing}"
    assert not stale, f"{title} takes no {stale}"
    assert {name: default for name, default in wrong.items() if default is not None} == {}


def test_every_environment_variable_is_documented() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "durable").rglob("*.py"))
    variables = set(re.findall(r"\"((?:DURABLE|TEMPORAL)_[A-Z_]+)\"", sources))

    page = section("reference/configuration.md", "Environment")

    assert variables
    assert {name for name in variables if name not in page} == set()


def test_every_limit_is_the_constant_that_is_named() -> None:
    found = [row for row in rows(text("reference/limits.md")) if code(row[-1]) and "." in code(row[-1])[0]]
    for row in found:
        module, _, name = code(row[-1])[0].rpartition(".")
        value = getattr(import_module(module), name)
        number = value / 1_000_000 if name.endswith("_US") else value
        expected = f"{number.total_seconds():g} s" if isinstance(number, timedelta) else f"{number:,g}"
        if isinstance(number, int):
            expected = f"{number:,}"
        assert re.search(rf"(?<![\d,]){re.escape(expected)}(?![\d,])", row[1]), f"{name} is {expected}: {row}"
    assert len(found) > 15


def test_every_event_is_documented_with_its_attributes() -> None:
    said = {
        code(row[0])[0]: (row[1], code(row[2]))
        for row in rows(text("reference/events.md"))
        if len(row) == 3 and code(row[0])
    }
    events = {
        event.__name__: [field for field in event.__struct_fields__ if field not in OF_EVERY_EVENT]
        for event in get_args(HistoryEvent)
    }

    assert {name: attributes for name, (_, attributes) in said.items()} == events
    assert all(when for when, _ in said.values())


def test_every_error_of_ours_is_among_the_troubles() -> None:
    errors = {
        name
        for module in MODULES
        for name in names(import_module(module))
        if isinstance(value := getattr(import_module(module), name), type) and issubclass(value, BaseException)
    } | {name for name in vars(import_module("durable.history.errors")) if name.endswith(("Unavailable", "TooNew"))}

    missing = sorted(name for name in errors if not re.search(rf"\b{name}\b", text("troubleshooting.md")))

    assert not missing, "not in docs/troubleshooting.md: " + ", ".join(missing)


def test_every_text_that_troubleshooting_quotes_is_said_by_the_code() -> None:
    """Of a quoted text the parts between the gaps (…) stand in the source, however its lines are broken there."""
    sources = "".join(path.read_text() for path in (ROOT / "durable").rglob("*.py"))
    said = re.sub(r"\"\n\s*f?\"|\s+", lambda match: "" if '"' in match[0] else " ", sources)
    quotes = re.findall(r"^(?:### )?`(.*)`$", text("troubleshooting.md"), re.MULTILINE)

    strange = [
        quote for quote in quotes for part in quote.split("…") if len(part.strip()) > 3 and part.strip() not in said
    ]

    assert len(quotes) > 10
    assert not strange


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_test_that_a_page_names_is_there(page: Any) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_the_index_leads_to_every_page_of_the_guide_and_the_howtos() -> None:
    index = text("index.md")
    pages = [path for part in ("guide", "howto") for path in sorted((DOCS / part).glob("*.md"))]

    missing = [page_name(page) for page in pages if page_name(page).removesuffix(".md") not in index]

    assert not [name for name in missing if not name.startswith("howto/")]
    assert "howto/*" in index
