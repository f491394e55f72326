"""``ran``: a how-to page's Python, run as it is written, so that a test can use what it defines."""

from __future__ import annotations

import logging
from contextlib import contextmanager

from tests.packaging.test_documents import PYTHON, ROOT


@contextmanager
def ran(page):
    """The names that a page defines; what it has done to the package's logger is undone afterwards."""
    logger = logging.getLogger("caliper_readtime")
    handlers, level = list(logger.handlers), logger.level
    path = ROOT / "docs" / "how-to" / f"{page}.md"
    names = {"__name__": page}
    try:
        exec(compile("\n\n".join(PYTHON.findall(path.read_text(encoding="utf-8"))), str(path), "exec"), names)  # noqa: S102 - our own pages
        yield names
    finally:
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
        logger.setLevel(level)
