"""Configuration of the documentation: built from files alone, and read without a network."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parent.parent))  # an environment without the package installed serves as well

project = "stxm-rixs-beamline"
author = "The stxm-rixs-beamline developers"
copyright = author
try:
    release = metadata.version(project)
except metadata.PackageNotFoundError:
    release = ""

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.viewcode",
    "mathml",
    "room_reference",
    "settings_table",
    "vocabulary",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {
    "index": [],
    "tutorial": [],
    "glossary": [],
    "reliability": [],
}  # a page without pages below it needs no list of them

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the default comes from the network

autodoc_typehints = "none"  # the docstrings name types, shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
add_module_names = False  # the heading of a room says where its names are
default_role = "literal"  # what docstrings put between single backticks is code
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
viewcode_line_numbers = True

doctest_global_setup = """
import logging

import numpy as np
from callbacks.stxm import StreamingPCA

logging.getLogger("callbacks").setLevel(logging.CRITICAL)  # examples of failures
rng = np.random.default_rng(1)
stack = [(energy, rng.normal(size=(4, 5))) for energy in np.arange(520.0, 535.0, 0.5)]
"""
