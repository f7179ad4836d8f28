"""Sphinx configuration. `make docs` builds the site from pages, docstrings and parsers, without a network."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Cells run the `torchhebb` of the environment that builds the site, whether it is activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["TORCHHEBB_ROOT"] = str(Path(__file__).parent.parent)  # notebooks run in folders of their own

project = "torchhebb"
author = "The torchhebb authors"
copyright = author
version = release = installed("torchhebb")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.katex",
    "docstrings",
    "generated",
]
exclude_patterns = ["_build", "requirements.txt"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
default_role = "code"
nitpicky = False

# Notebooks run once and are kept until they change.  A cell that fails or takes over two minutes fails the build.
nb_execution_mode = "cache"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "show-inheritance": False,
    # Made by scikit-learn for every estimator; their text links to pages of its own site.
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request",
}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # torch's docstrings are in a form of their own

# KaTeX comes with its package and writes MathML, which browsers draw with their own fonts: nothing is fetched.
katex_css_path = "katex.css"
katex_options = 'output: "mathml"'

html_theme = "furo"
html_title = f"torchhebb {version}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
