"""The site builds without a warning and without a network, and every link inside it leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import caliper_readtime
from caliper_readtime import testing

ROOT = Path(__file__).parents[2]
NEEDED = ("sphinx", "furo", "myst_parser", "sphinx_copybutton")
#: What a page loads by itself, and the attribute that says from where.
LOADED = {"script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "object": "data"}


class Page(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        if attrs.get(LOADED.get(tag)) and attrs.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.loaded.append(attrs[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    missing += [] if shutil.which("dot") else ["Graphviz (apt-get install graphviz)"]
    if missing:
        log = pytest.fail if os.environ.get("CI") else pytest.skip
        log(f"the site is not built, without {', '.join(missing)}: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    # No proxy answers on this port: whatever asks the network fails, and a warning is an error.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-n",
            "-b",
            "html",
            "docs",
            out / "html",
        ],
        cwd=ROOT,
        env={**os.environ, **nowhere, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Every page, by its path from the site's root."""
    return {str(path.relative_to(site)): Page(path) for path in site.rglob("*.html")}


def test_every_document_is_a_page(pages):
    """Each Markdown page has become one, and none is left out of the tables of contents."""
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {str(source) for source in sources if source.parts[0] != "examples"} <= set(pages)


def test_links_inside_the_site_lead_somewhere(site, pages):
    """Every link without a host names a file of the site, and its fragment an id of that page."""
    broken = defaultdict(list)
    count = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = urljoin(name, unquote(parts.path)) if parts.path else name
            fragment = unquote(parts.fragment)
            there = (site / target).is_file()
            if not there or (fragment and target in pages and fragment not in pages[target].ids):
                broken[name].append(link)
    assert count > 1000
    assert broken == {}


def test_nothing_is_loaded_from_elsewhere(site, pages):
    """No page and no style sheet loads a script, a style, a font or a picture from another host."""
    foreign = {(name, url) for name, page in pages.items() for url in page.loaded if urlsplit(url).netloc}
    for path in site.rglob("*.css"):
        for url in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", path.read_text(encoding="utf-8")):
            if urlsplit(url).netloc:
                foreign.add((str(path.relative_to(site)), url))
    assert sum(len(page.loaded) for page in pages.values()) > 100
    assert foreign == set()


@pytest.mark.parametrize("module", [caliper_readtime, testing], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(pages, module):
    """Whatever can be imported from the top or from the testing kit has an entry of its own in the API."""
    ids = {id_ for name, page in pages.items() if name.startswith("reference/api/") for id_ in page.ids}
    assert [name for name in module.__all__ if name != "__version__" and f"{module.__name__}.{name}" not in ids] == []


def test_drawings_are_drawn(site):
    """The state machine is a part of its page, with every phase, and in colours that the page decides."""
    page = (site / "explanation" / "delivery.html").read_text(encoding="utf-8")
    drawing = page[page.index('<figure class="drawing"') : page.index("</figure>")]
    assert "<svg" in drawing
    shown = set(re.findall(r"<text[^>]*>\s*(\w+)\s*</text>", drawing))
    assert {"absent", "unreported", "claimed", "released", "parked", "settled"} <= shown
    assert "stateDiagram" not in re.sub(r'aria-label="[^"]*"', "", page)


def test_the_readme_is_the_front_page(site):
    """The front page is spliced from the README, whose links lead into the site."""
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "makes sure that every minute arrives" in page
    assert 'href="reference/settings.html"' in page
    assert "makes sure that every minute arrives" not in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_every_page_has_a_description(pages, site):
    """What a search engine shows of a page is a sentence of its own, and no other page's."""
    said = defaultdict(list)
    for name in pages:
        found = re.search(r'<meta name="description" content="([^"]+)">', (site / name).read_text(encoding="utf-8"))
        said[found and unescape(found[1])].append(name)
    assert said.pop(None) == ["search.html"]
    assert [names for text, names in said.items() if len(names) > 1 or not 30 < len(text) <= 200] == []


def test_code_can_be_copied(site):
    """Code blocks get a button, from a script of the site's own; the logo stands beside them."""
    page = (site / "quickstart" / "flask.html").read_text(encoding="utf-8")
    assert "_static/copybutton.js" in page
    assert "_static/logo.svg" in page
    assert (site / "_static" / "copybutton.js").is_file()


def test_downloads_open(site, pages):
    """Each example is downloaded whole, and unpacks to what the repository has; the notebook is one."""
    archives = {urljoin(name, link) for name, page in pages.items() for link in page.links if link.endswith(".zip")}
    assert {Path(name).stem for name in archives} == {"asgi_app", "django_project", "flask_app", "migration"}
    for name in archives:
        folder = ROOT / "docs" / "examples" / Path(name).stem
        with zipfile.ZipFile(site / name) as archive:
            held = {entry: archive.read(entry) for entry in archive.namelist()}
        there = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert held == {file.relative_to(folder.parent).as_posix(): file.read_bytes() for file in there}
    (notebook,) = site.rglob("*.ipynb")
    assert json.loads(notebook.read_text(encoding="utf-8"))["nbformat"] == 4


def test_the_layout_names_every_module(site):
    """The drawing of the layout has every module of the package, and each says what it is for."""
    page = (site / "contributing.html").read_text(encoding="utf-8")
    listed = dict(re.findall(r"<li><code>([\w.]+)</code> (.*?)</li>", page))
    package = ROOT / "caliper_readtime"
    there = {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
    }
    assert set(listed) == there - {"__init__"}
    assert [name for name, said in listed.items() if len(said) < 10] == []


def test_without_graphviz_one_sentence_says_what_to_install(tmp_path):
    """The build ends before it reads a page, and says which program is missing and where it comes from."""
    pytest.importorskip("sphinx", reason="the site is not built: pip install -e '.[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-d", tmp_path / "doctrees", "docs", tmp_path / "html"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode != 0
    assert built.stderr == "The drawings of these pages need Graphviz's program dot: apt-get install graphviz\n"
