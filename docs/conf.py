"""The documentation: `sphinx-build -W docs docs/_build`, after `pip install -e '.[docs]'`."""

import qc_jax

project = "qc_jax"
author = "the qc_jax authors"
release = version = qc_jax.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "matplotlib.sphinxext.mathmpl",  # equations as pictures: no script from elsewhere
]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "qc_jax"
html_static_path = []
mathmpl_fontsize = 13.0
mathmpl_srcset = ["2x"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_use_ivar = True
