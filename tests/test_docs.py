"""README and docs: every Python block runs as it stands, every session as it is typed; every link leads somewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import PAGES, Command, Script, page_name, prose, scripts, session

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)")
SESSIONS = [(page_name(page), *found) for page in PAGES if (found := session(page))]
OUTPUT_OF = "output of command "


@pytest.mark.parametrize("script", [pytest.param(script, id=script.name) for page in PAGES for script in scripts(page)])
def test_a_code_block_runs_as_it_stands(script: Script, tmp_path: Path) -> None:
    code, said = script.run(tmp_path)

    if script.failure is None:
        assert code == 0, said
    else:
        assert (code, script.failure in said) == (1, True), said


def test_a_block_that_fails_is_told_by_its_line_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nMore:\n\n<!-- goes on -->\n```python\nassert x == 2\n```\n")

    [script] = scripts(page)
    code, said = script.run(tmp_path)

    assert code == 1
    assert "line 11, in <module>\n    assert x == 2" in said


@pytest.mark.parametrize(("files", "commands"), [pytest.param(*rest, id=name) for name, *rest in SESSIONS])
def test_a_session_says_what_the_page_shows(files: dict[str, str], commands: list[Command], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    # What pip would install is what is tested; what is left in the background ends with the shell.
    lines = ["pip() { :; }", "trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT"]
    for number, command in enumerate(commands):
        lines += [f"echo; echo '{OUTPUT_OF}{number}'", command.typed]
    environment = {name: value for name, value in os.environ.items() if name != "DURABLE_ADDRESS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    shell = subprocess.Popen(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env={**environment, "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=50)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)

    assert shell.returncode == 0, said
    outputs = said.split(f"\n{OUTPUT_OF}")[1:]
    for command, output in zip(commands, outputs, strict=True):
        expected = ".*".join(
            "^" + ".*".join(re.escape(part.strip()) for part in line.split("…")) for line in command.shown
        )
        assert re.search(expected, output, re.MULTILINE | re.DOTALL), f"{command.typed}\n{command.shown}\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page_name(page)} links to {target}"
        if anchor:
            headings = [
                re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in path.read_text().splitlines()
                if line.startswith("#")
            ]
            assert anchor in headings, f"{page_name(page)} links to {target}#{anchor}"
