"""The site: `make docs` builds it into build/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commands
import interface
from sphinx.application import Sphinx

from camcli import __version__

project = "camcli"
version = release = __version__
html_title = f"camcli {__version__}"
extensions = ["myst_nb"]
html_theme = "furo"
exclude_patterns = ["*.py"]
# The tests execute the notebook; the site shows it as it is.
nb_execution_mode = "off"
myst_heading_anchors = 3
# Links to files of the repository that are no pages.
suppress_warnings = ["myst.xref_missing"]


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write)


def write(app: Sphinx) -> None:
    """The pages that are made of the code."""
    commands.write(Path(app.srcdir) / "commands.md")
    interface.write(Path(app.srcdir) / "api.md")
