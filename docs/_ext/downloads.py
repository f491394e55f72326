"""Makes of every link to a file of an example a download of the whole example: alone it would not run."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

EXAMPLES = Path(__file__).parents[1] / "examples"


class Whole(SphinxPostTransform):
    """Points such a link at the archive."""

    default_priority = 5  # before what is downloaded is collected
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Do so."""
        for link in list(self.document.findall(addnodes.download_reference)):
            folder = (Path(self.env.doc2path(self.env.docname)).parent / link["reftarget"]).resolve().parent
            while folder.parent not in (EXAMPLES, folder):
                folder = folder.parent
            if folder.parent == EXAMPLES:
                up = "../" * self.env.docname.count("/")
                whole = nodes.reference("", "", *link.children, refuri=f"{up}examples/{folder.name}.zip", internal=True)
                link.replace_self(whole)


def pack(app: Sphinx, failed: Exception | None) -> None:
    """Write an archive of each example beside the site's pages."""
    if failed or app.builder.format != "html":
        return
    out = Path(app.outdir) / "examples"
    out.mkdir(exist_ok=True)
    for folder in filter(Path.is_dir, EXAMPLES.iterdir()):
        with zipfile.ZipFile(out / f"{folder.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    name = PurePosixPath(folder.name, *file.relative_to(folder).parts)
                    archive.writestr(zipfile.ZipInfo(str(name)), file.read_bytes(), zipfile.ZIP_DEFLATED)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.add_post_transform(Whole)
    app.connect("build-finished", pack)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
