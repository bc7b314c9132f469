"""How the documentation site is built."""

from __future__ import annotations

from typing import Any

import jalon

project = "jalon"
author = "the jalon developers"
version = release = jalon.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "decisions/template.md"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# What other projects define is named, not linked: the site is built without the network.
nitpick_ignore_regex = [(r"py:.*", r"(?!jalon\.).*")]

html_theme = "furo"
html_title = "jalon"
html_show_copyright = False


def setup(app: Any) -> None:
    """Keep napoleon from taking a colon in an attribute's first line for the end of a type."""

    def shield(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        if what in ("attribute", "data", "property"):
            lines.insert(0, "")

    app.connect("autodoc-process-docstring", shield, priority=100)
