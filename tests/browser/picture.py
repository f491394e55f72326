"""Draws the README's picture of the demo anew: ``python -m tests.browser.picture``."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

from PIL import Image

from caliper_readtime._demo.served import Served
from tests.browser.devtools import Chromium
from tests.browser.test_demo import Visit

PICTURE = Path(__file__).parents[2] / "docs" / "demo.png"
WIDTH, HEIGHT = 1440, 900
COLOURS = 128  # of a page that has few; the file is a quarter of what it would be


def main():
    """Read, come back while the endpoint is down, read on after a report has failed, and look."""
    with Served() as served, tempfile.TemporaryDirectory() as profile:
        browser = Chromium(profile)
        try:
            visit = Visit(served, browser)
            visit.page.call(
                "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False
            )
            visit.page.call("Emulation.setScrollbarsHidden", hidden=True)
            visit.until_read(8)
            visit.press("Close the tab")
            visit.until("parseFloat(document.querySelector('#reported').textContent) > 0")
            visit.press("Open the article")
            visit.press("Answers 503")
            visit.until_read(14)
            visit.press("Close the tab")
            visit.until("document.querySelector('#flight.bad')")
            visit.press("Open the article")
            visit.until_read(18)
            png = base64.b64decode(visit.page.call("Page.captureScreenshot", format="png")["data"])
        finally:
            browser.end()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
