"""Sphinx's settings: Markdown pages, an API reference from docstrings, pictures drawn while the pages are built."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "tests"), str(HERE.parent)]

import rnnfast  # noqa: E402  the package of this clone, whatever else is installed

project = "rnnfast"
author = "the authors of rnnfast"
project_copyright = author
version = release = rnnfast.__version__

extensions = [
    "api_pages",
    "pictures",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "README.md"]
templates_path = ["_templates"]
default_role = "py:obj"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it, and in words
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False  # the template of a class does it

nitpicky = True  # a name in a docstring that leads nowhere is an error

html_theme = "furo"
html_title = f"rnnfast {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
