"""What README, CONTRIBUTING and docs hold that can be run: their code blocks, put together to scripts and sessions.

A comment before a ```python block says how it runs, if not by itself:

- ``<!-- fails with: TEXT -->``: it ends with an error whose output holds the text;
- ``<!-- goes on -->``: it is one script with the block before it;
- ``<!-- file: NAME -->``: the page's session finds it under this name.

The ```console blocks of a page with ``<!-- session -->`` are typed into one shell, in one directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests import forked

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?:fails with: (?P<failure>.*?)|(?P<goes_on>goes on)|file: (?P<file>\S+)) -->\n\n?)?"
    r"```(?P<language>python|console)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
# Without plugins that no block needs, and that take longer to load than a block to run.
PYTEST = ["-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist", "-o", "asyncio_mode=auto"]


@dataclass
class Script:
    """What runs as it stands; its lines have the numbers that they have on the page."""

    name: str
    code: str
    failure: str | None

    @property
    def has_tests(self) -> bool:
        return re.search(r"^(async )?def test_", self.code, re.MULTILINE) is not None

    def run(self, directory: Path) -> tuple[int, str]:
        """Run it in an empty directory: its exit code, and what it said."""
        (directory / "test_block.py").write_text(self.code)
        how = ["-m", "pytest", *PYTEST] if self.has_tests else []
        ended = forked.run(*how, "test_block.py", directory=directory)
        return ended.returncode, ended.stdout + ended.stderr


def page_name(page: Path) -> str:
    for place in (DOCS, ROOT):
        if page.is_relative_to(place):
            return str(page.relative_to(place))
    return page.name


def scripts(page: Path) -> list[Script]:
    text = page.read_text()
    found: list[Script] = []
    for block in BLOCK.finditer(text):
        if block["language"] != "python" or block["file"]:
            continue
        first_line = text.count("\n", 0, block.start("code"))
        if block["goes_on"]:
            script = found[-1]
            script.code += "\n" * (first_line - script.code.count("\n")) + block["code"]
        else:
            found.append(Script(f"{page_name(page)}-{first_line}", "\n" * first_line + block["code"], block["failure"]))
    return found


@dataclass(frozen=True)
class Command:
    typed: str
    shown: list[str]
    """Lines that its output holds, in this order; "…" stands for anything."""


def session(page: Path) -> tuple[dict[str, str], list[Command]] | None:
    """The files of a page's session, and what is typed; None if it has none."""
    text = page.read_text()
    if "<!-- session -->" not in text:
        return None
    blocks = list(BLOCK.finditer(text))
    files = {block["file"]: block["code"] for block in blocks if block["file"]}
    commands: list[Command] = []
    for line in "".join(block["code"] for block in blocks if block["language"] == "console").splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:].partition("  #")[0], []))
        else:
            commands[-1].shown.append(line)
    return files, commands


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCED.sub("", page.read_text())
