"""The served demo in a real Chromium: what its visitors do with it, and what they see."""

from __future__ import annotations

import pytest

from caliper_readtime._demo.served import Served
from caliper_readtime._demo.stage import EndpointMode
from tests.browser.devtools import CHROMIUM, Chromium, need

TIMES = "\N{MULTIPLICATION SIGN}"
SIZES = {"wide": (1440, 900), "laptop": (1100, 800), "tablet": (820, 1100), "phone": (390, 844), "narrow": (360, 780)}
#: The smallest contrast of visible text with what lies behind it, and whose it is.
CONTRAST = """(() => {
  const bright = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = parts(getComputedStyle(element).backgroundColor);
      if (color.length == 3 || color[3] > 0) return color.slice(0, 3);
    }
  };
  const worst = (root) => [...root.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && !(e instanceof root.defaultView.SVGElement))
    .filter((e) => [...e.childNodes].some((node) => node.nodeType == 3 && node.data.trim()))
    .map((e) => {
      const lights = [bright(parts(getComputedStyle(e).color).slice(0, 3)), bright(behind(e))].sort((a, b) => b - a);
      return [(lights[0] + 0.05) / (lights[1] + 0.05), e.textContent.trim().slice(0, 40)];
    });
  const frames = [...document.querySelectorAll("iframe")];
  return [document, ...frames.map((frame) => frame.contentDocument)].flatMap(worst).sort((a, b) => a[0] - b[0])[0];
})()"""


class Visit:
    """The demo, and a browser that shows it."""

    def __init__(self, served, browser):
        self.served = served
        self.browser = browser
        self.page = browser.page(served.url)

    def press(self, label):
        """Press the button of this name, as a visitor would: it is there, and is a button."""
        self.page.run(
            f"{{ const [button] = [...document.querySelectorAll('button')].filter((b) => b.textContent == {label!r});"
            " if (!button.checkVisibility()) throw new Error('not to be seen'); button.click(); }"
        )

    def text(self, where):
        """What stands in an element."""
        return self.page.run(f"document.querySelector({where!r}).textContent")

    def until(self, condition):
        """Wait until a condition holds, looked at whenever the page changes."""
        self.page.run(
            f"new Promise((done) => {{ const look = () => ({condition}) && (watch.disconnect(), done());"
            "const watch = new MutationObserver(look);"
            "watch.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });"
            "look(); })"
        )

    def until_text(self, where, text):
        """Wait until an element holds a text."""
        self.until(f"document.querySelector({where!r}).textContent.includes({text!r})")

    def until_read(self, seconds):
        """Read until the server knows of so many seconds; the page shows tenths, rounded."""
        self.until(f"parseFloat(document.querySelector('#read').textContent) >= {seconds + 0.1}")

    def key(self, key, code):
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text="")

    def look(self, size, scheme):
        """Look at it in a window of this size, light or dark."""
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.page.call("Emulation.setDeviceMetricsOverride", **metrics)
        # Without motion, or a colour that is on its way from one scheme to the other would be judged.
        media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in media.items()]
        self.page.call("Emulation.setEmulatedMedia", features=features)


@pytest.fixture
def visit(tmp_path):
    need(CHROMIUM, "chromium")
    with Served("sqlite") as served:
        browser = Chromium(tmp_path / "profile")
        try:
            yield Visit(served, browser)
            assert browser.complaints() == []
        finally:
            browser.end()


def test_an_outage_costs_nothing(visit):
    """Ada reads, the endpoint breaks, Ada closes the tab; mended and swept, the time arrives, once."""
    visit.until_read(3)
    visit.press("Answers 503")
    visit.until("document.querySelector('[data-act=down]').ariaPressed == 'true'")
    visit.press("Close the tab")
    assert visit.page.run("document.querySelector('iframe')") is None
    visit.until_text("#flight", "1 failed attempt")
    assert visit.text("#events") == "No event has come yet."
    visit.press("Works")
    visit.until_text("#flight", "the next sweep sends it again")
    visit.press("Sweep")
    visit.until_text("#diary", "Sweep: 1 event sent")
    (event,) = visit.served.endpoint.deliveries
    seconds = event["generated"]["items"][0]["value"]
    assert seconds >= 3
    row = "[...document.querySelector('#events tr').cells].map((cell) => cell.textContent)"
    short, value, _, came = visit.page.run(row)
    assert event["id"].startswith(f"urn:uuid:{short}")
    assert (value, came) == (str(seconds), f"1 {TIMES}")
    assert visit.text("#reported") == f"{seconds:.1f} s"


def test_a_killed_worker_costs_nothing(visit):
    """R1: the endpoint has the event, nobody wrote that down; the sweep asks for it, and sends no copy."""
    visit.until_read(3)
    visit.press("Kill a worker")
    visit.until_text("#flight", "claimed by a worker")
    assert visit.text("#reported") == "0.0 s"
    assert visit.text("#came") == "1 in all"
    visit.press("Close the tab")
    visit.until_text("#flight", "its lease has ended")
    visit.press("Sweep")
    visit.until_text("#flight", "Nothing")
    endpoint = visit.served.endpoint
    assert endpoint.duplicates == endpoint.conflicts == ()
    assert endpoint.events[0]["id"].startswith(f"urn:uuid:{visit.text('#events .id')}")
    distinct = sum(event["generated"]["items"][0]["value"] for event in endpoint.events)
    assert visit.text("#counted") == str(distinct)
    assert visit.text("#reported") == f"{distinct:.1f} s"


def test_leaving_and_coming_back(visit):
    """A link away reports what was read; the way back is another view, and flushing banks both."""
    visit.until_read(2)
    visit.press("Navigate away")
    visit.until_text("#diary", "reported, event")
    visit.until_text("#where", "another page, not counted")
    before = visit.served.endpoint.seconds()
    visit.press("Back to the article")
    visit.until_text("#where", "counted by readtime.js")
    visit.until_read(before + 2)
    visit.press("Flush and bank")
    visit.until_text("#banked", "Banked: 0 min for")
    assert visit.served.endpoint.seconds() >= before + 2
    assert len(visit.served.endpoint.events) == 2


def test_reading_to_the_end_finalizes(visit):
    """Once all of the article has been on screen, its time is final."""
    visit.until_read(2)
    assert visit.page.run("document.querySelector('#finished').checkVisibility()") is False
    visit.page.run("setInterval(() => document.querySelector('iframe').contentWindow.scrollBy(0, 100), 400)")
    visit.until("document.querySelector('#finished').checkVisibility()")
    visit.until_text("#diary", "reported, event")


def test_hidden_panels_hear_nothing_and_catch_up(visit):
    """While another tab is in front the panels rest; in front again, they show what has happened."""
    visit.until_read(2)
    other = visit.browser.page(f"{visit.served.url}elsewhere")
    visit.page.until_shown(shown=False)
    visit.served.stage.turn(EndpointMode.DOWN)
    pressed = "document.querySelector('[data-act=down]').ariaPressed"
    assert visit.page.run(pressed) == "false"
    other.close()
    visit.page.until_shown(shown=True)
    visit.until(f"{pressed} == 'true'")


def test_by_keyboard(visit):
    """Every control is reached by Tab, in order and visibly, and Enter presses it."""
    visit.until_read(2)
    held = (
        "document.activeElement.id || document.activeElement.dataset.act"
        " || document.activeElement.getAttribute('aria-describedby') || document.activeElement.localName"
    )
    focus = f"[{held}, getComputedStyle(document.activeElement).outlineStyle]"
    reached = []
    for _ in range(24):
        visit.key("Tab", 9)
        name, outline = visit.page.run(focus)
        if name != "iframe":
            reached.append(name)
            assert outline != "none", name
        if name == "sweep":
            visit.page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r")
            visit.page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter")
        if name == "summary":
            break
    visit.until_text("#diary", "Sweep: ")
    acts = ["works", "down", "mute", "kill", "claim-what", "sweep", "lease-what", "bank"]
    assert reached == ["restart", "close", "away", "a", *acts, "diary", "summary"]
    # The newest line is read aloud, and the article that was tabbed out of sight may have had one since.
    said = visit.page.run("document.querySelector('[role=status]').textContent")
    assert said
    assert said in visit.text("#diary")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable(visit, scheme):
    """Nothing is wider than the window, no text is too faint, and the colours are the scheme's."""
    visit.until_read(2)
    visit.press("Kill a worker")
    visit.until_text("#flight", "claimed by a worker")
    backs = set()
    for size, (width, _) in SIZES.items():
        visit.look(size, scheme)
        assert visit.page.run("document.documentElement.scrollWidth") <= width
        inside = visit.page.run(
            "(() => { const page = document.querySelector('iframe').contentDocument.documentElement;"
            " return page.scrollWidth - page.clientWidth; })()"
        )
        assert inside == 0
        contrast, whose = visit.page.run(CONTRAST)
        assert contrast >= 4.5, (size, whose)
        backs.add(visit.page.run("getComputedStyle(document.body).backgroundColor"))
    assert backs == {"rgb(238, 241, 236)" if scheme == "light" else "rgb(15, 19, 16)"}


def seen(visit, where):
    """Where an element stands in the window: left, top, right and bottom."""
    place = f"document.querySelector({where!r}).getBoundingClientRect()"
    return visit.page.run(f"(({{ left, top, right, bottom }}) => [left, top, right, bottom])({place})")


def test_everything_is_on_the_first_screen(visit):
    """At 1440 by 900 nothing has to be scrolled for, what happened least of all, while things go wrong."""
    visit.until_read(2)
    visit.look("wide", "light")
    visit.press("Kill a worker")
    visit.until_text("#diary", "died before")
    width, height = SIZES["wide"]
    for where in ("#diary li", "#flight", "[data-act=bank]", "[data-act=sweep]", "[data-act=restart]", "iframe"):
        left, top, right, bottom = seen(visit, where)
        assert (left >= 0, top >= 0, right <= width, bottom <= height) == (True,) * 4, where
    assert visit.page.run("document.documentElement.scrollHeight") <= height


@pytest.mark.parametrize("size", ["phone", "narrow"])
def test_on_a_phone_the_numbers_stand_beside_the_article(visit, size):
    """Article and figures share the first screen, and the figures stay while one scrolls to the buttons."""
    visit.look(size, "light")
    visit.until_read(2)
    _, height = SIZES[size]
    _, top, _, bottom = seen(visit, ".figures")
    assert 0 <= top < bottom < height / 2
    assert seen(visit, "iframe")[1] < height * 0.65
    visit.page.run("document.querySelector('[data-act=sweep]').scrollIntoView({ block: 'center' })")
    _, top, _, bottom = seen(visit, ".figures")
    assert 0 <= top < bottom < height / 2


BAD = "getComputedStyle(document.querySelector({!r})).backgroundColor"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failures_light_up(visit, scheme):
    """The broken endpoint, the line of what happened and the event in flight turn red, and back once all is well."""
    visit.look("wide", scheme)
    visit.until_read(2)
    plain = visit.page.run(BAD.format("#flight"))
    visit.press("Answers 503")
    visit.until("document.querySelector('#endpoint.broken')")
    visit.press("Close the tab")
    visit.until("document.querySelector('#flight.bad')")
    assert visit.page.run(BAD.format("#flight")) != plain
    assert visit.page.run("document.querySelectorAll('#diary .bad').length") == 2
    for size in ("wide", "phone"):
        visit.look(size, scheme)
        contrast, whose = visit.page.run(CONTRAST)
        assert contrast >= 4.5, (size, whose)
    visit.press("Works")
    visit.until("!document.querySelector('#endpoint.broken')")
    visit.until_text("#flight", "the next sweep sends it again")
    visit.press("Sweep")
    visit.until("!document.querySelector('#flight.bad') && document.querySelector('#diary .good')")


@pytest.mark.parametrize("size", ["wide", "phone"])
def test_words_are_explained(visit, size):
    """Claim and lease say what they mean to a pointer and to the focus; Escape takes it away."""
    visit.look(size, "dark")
    visit.until_read(2)
    width, height = SIZES[size]
    for name in ("claim", "lease"):
        word, what = f"[aria-describedby={name}-what]", f"#{name}-what"
        there = f"document.querySelector({what!r}).checkVisibility()"
        visit.page.run(f"document.querySelector({word!r}).scrollIntoView({{ block: 'center' }})")
        assert visit.page.run(there) is False
        left, top, right, bottom = seen(visit, word)
        at = {"x": (left + right) / 2, "y": (top + bottom) / 2}
        visit.page.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
        assert visit.page.run(there) is True
        left, top, right, bottom = seen(visit, what)
        assert (left >= 0, top >= 0, right <= width, bottom <= height) == (True,) * 4
        visit.key("Escape", 27)
        assert visit.page.run(there) is False
        visit.page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        visit.page.run(f"document.querySelector({word!r}).focus()")
        assert visit.page.run(there) is True
        contrast, whose = visit.page.run(CONTRAST)
        assert contrast >= 4.5, whose
        visit.page.run("document.activeElement.blur()")


def test_starting_over(visit):
    """Everything begins anew, and what the page that was open still says is not counted."""
    visit.until_read(3)
    visit.press("Kill a worker")
    visit.until_text("#came", "1 in all")
    visit.press("Start over")
    visit.until_text("#diary", "Everything begins anew.")
    visit.until_text("#diary", "Ada opens the article.")
    assert "died before" not in visit.text("#diary")
    assert visit.text("#events") == "No event has come yet."
    visit.until_read(2)
    visit.press("Close the tab")
    visit.until_text("#diary", "reported, event")
    (event,) = visit.served.endpoint.deliveries
    assert visit.text("#counted") == str(event["generated"]["items"][0]["value"])


def test_a_server_that_has_gone_is_noticed(visit):
    """The page says so, instead of showing old figures in silence."""
    visit.until_read(2)
    visit.served.__exit__()
    visit.until_text("#news", "does not answer")
    visit.look("wide", "light")
    assert seen(visit, "#news")[3] == SIZES["wide"][1]
