"""The documentation site. Build it with: uv run --group docs sphinx-build -W docs site."""

import torchdau

project = "torchdau"
author = "The torchdau authors"
release = torchdau.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"torchdau {release}"
html_static_path = ["_static"]
html_css_files = ["torchdau.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # every notebook runs when the site is built
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"

suppress_warnings = ["myst.xref_missing"]  # links to files outside of docs/; tests/test_readme.py checks all links
