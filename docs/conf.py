"""Sphinx configuration."""

project = "matsciml"
project_copyright = "2026, the matsciml developers"
author = "the matsciml developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "matsciml"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "none"
napoleon_use_ivar = True
autodoc_member_order = "bysource"
