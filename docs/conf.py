"""How the site is made from README, docs and docstrings: `make docs`. No network; a warning is an error.

The source directory is the repository, so that a link which leads somewhere on a forge does on the site as well.
"""

import gc
import logging

from durable import __version__

# Documents are large and live till the end: looking for garbage among them took a fifth of the time.
gc.set_threshold(200_000, 50, 50)

project = "durable"
version = release = __version__
copyright = "the authors of durable, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "samples/README.md"]
exclude_patterns = ["docs/site/**"]
html_theme = "furo"
html_title = f"durable {version}"
html_extra_path = ["site"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False

myst_heading_anchors = 4  # as a forge's, so that a link works in both places

# Docstrings name code as `code`, in prose that is otherwise plain.
default_role = "code"
smartquotes = False
# A name that several classes have is linked to none of them.
suppress_warnings = ["ref.python"]
# A thousand names make the navigation of every page long, and the build twice as slow.
toc_object_entries = False
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "groupwise"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# `durable.client` shows some names of other modules, as Temporal's does: they are described on both pages.
logging.getLogger("sphinx.sphinx.domains.python").addFilter(
    lambda record: "duplicate object description" not in str(record.msg)
)
