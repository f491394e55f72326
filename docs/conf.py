"""How the site is built: Markdown pages, an API from docstrings, drawings by Graphviz, nothing from a network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]  # this checkout's package, whatever is installed

from caliper_readtime import __version__  # noqa: E402 - from the path above

project = "caliper-readtime"
author = "the caliper-readtime authors"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "descriptions",
    "downloads",
    "long_names",
    "mermaid",
    "package_layers",
]
exclude_patterns = ["examples/**/README.md"]

nitpicky = True
# Names of other libraries have pages elsewhere, which a build without a network cannot look up.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!caliper_readtime)[a-z_0-9]+(\.\w+)+"),
    (r"py:.*", r"[a-z]+|[A-Z]|R_co"),
    # Hosts write the one's values, which settings.md lists, and read the other's fields.
    (r"py:class", r"caliper_readtime\._(policy\.ReaderBudget|rules\.wall\.Stretch)"),
    (r"py:.*", r"Any|Callable|Collection|Iterable|Iterator|Mapping|Path|Self|Sequence|StrEnum"),
    (
        r"py:class",
        r"Application|CommitResult|Duplicates|Figure|Flask|HttpRequest|Markup|Redis|RedisCluster|SafeString|Starlette|Success|Tag",
    ),
]

myst_enable_extensions = ["attrs_inline"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "inherited-members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"caliper-readtime {__version__}"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_use_index = False  # the search finds more
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
copybutton_selector = "div:not(.highlight-text):not(.highlight-json) > div.highlight > pre"  # not what is put out


# Napoleon takes what stands before a colon in an attribute's docstring for its type; ours are sentences.
COLON = "\N{RATIO}"


def hide(_app, kind, _name, _object, _options, lines):  # noqa: ANN001, ANN201 - Sphinx' hook
    """Hide the colons from napoleon."""
    if kind in {"attribute", "data", "property"}:
        lines[:1] = [line.replace(": ", f"{COLON} ") for line in lines[:1]]


def show(_app, _kind, _name, _object, _options, lines):  # noqa: ANN001, ANN201 - Sphinx' hook
    """Show them again."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def setup(app):  # noqa: ANN001, ANN201 - Sphinx' hook
    """Put the hooks around napoleon's."""
    app.connect("autodoc-process-docstring", hide, priority=400)
    app.connect("autodoc-process-docstring", show, priority=600)
