"""The site is made without a warning, and its reference has every public name; every public name says what it is."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

from tests.pages import DOCS, ROOT
from tests.public import MODULES, names, undocumented

API = DOCS / "reference" / "api"
PAGE = """# {0}

```{{eval-rst}}
.. automodule:: {0}
"""


def not_described(module: str, there: set[str]) -> list[str]:
    """Public names of a module that the reference has neither there nor in another public module."""
    values = [
        value for home in MODULES for name, value in vars(import_module(home)).items() if f"{home}.{name}" in there
    ]
    return [
        f"{module}.{name}"
        for name in names(import_module(module))
        if f"{module}.{name}" not in there
        and not any(getattr(import_module(module), name) is value for value in values)
    ]


@pytest.mark.timeout(180)
def test_the_site_has_no_dead_link_and_every_public_name(tmp_path: Path) -> None:
    site = tmp_path / "site"
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs"]

    made = subprocess.run(
        [*build, "-d", str(tmp_path / "doctrees"), ".", str(site)], cwd=ROOT, capture_output=True, text=True
    )

    assert made.returncode == 0, made.stdout + made.stderr
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    there = {name for kind, objects in inventory.data.items() if kind.startswith("py:") for name in objects}
    missing = [name for module in MODULES for name in not_described(module, there)]
    hint = "not in docs/reference/api (an alias from another file needs a line of its own there, as in common.md)"
    assert not missing, f"{hint}: {', '.join(missing)}"
    assert (site / "index.html").exists()


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_has_a_page_of_the_reference(module: str) -> None:
    page = API / f"{module.removeprefix('durable.')}.md"
    expected = PAGE.format(module)

    assert page.is_file(), f"write {page.relative_to(ROOT)}:\n\n{expected}```"
    assert page.read_text().startswith(expected)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_says_what_it_is(module: str) -> None:
    silent = list(undocumented(module))

    assert not silent, f"no docstring in {module}: " + ", ".join(silent)
