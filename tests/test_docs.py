"""README and docs: every Python block runs as it stands, those with tests by pytest; every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- fails with: (.*?) -->\n\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def blocks() -> list[tuple[str, str | None, str]]:
    return [
        (f"{page.name}-{number}", match[1], match[2])
        for page in PAGES
        for number, match in enumerate(BLOCK.finditer(page.read_text()), 1)
    ]


@pytest.mark.parametrize(
    ("failure", "code"), [pytest.param(failure, code, id=name) for name, failure, code in blocks()]
)
def test_a_code_block_runs_as_it_stands(failure: str | None, code: str, tmp_path: Path) -> None:
    script = tmp_path / "test_block.py"
    script.write_text(code)
    has_tests = re.search(r"^(async )?def test_", code, re.MULTILINE) is not None
    command = [sys.executable, *(PYTEST if has_tests else []), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    said = done.stdout + done.stderr
    if failure is None:
        assert done.returncode == 0, said
    else:
        assert (done.returncode, failure in said) == (1, True), said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = [
                re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in path.read_text().splitlines()
                if line.startswith("#")
            ]
            assert anchor in headings, f"{page.name} links to {target}#{anchor}"
