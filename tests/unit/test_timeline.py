"""The picture of a reader's time: every event at its place, and what became of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from matplotlib.colors import to_hex
from matplotlib.dates import num2date

from caliper_readtime import EmitterUnavailable, EventRejected
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.notebook import _FATES, MAX_BARS, draw_timeline
from tests.scenes import ANNA, BEES, OWLS, START, Hooked, article

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def anna(scene):
    """Owls: half a minute arrived, a minute was refused, ten seconds are in flight; bees: 12.5 s not claimed."""
    scene.read(ANNA, OWLS, 30)
    scene.tracker.partial(ANNA, OWLS)
    for seconds, error in ((60, EventRejected("no", status=422)), (10, EmitterUnavailable("h is away"))):
        scene.read(ANNA, OWLS, seconds)
        scene.emitter.fail(error)
        with pytest.raises(type(error)):
            scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, BEES, 12.5)
    return scene


def bars(figure):
    """Each bar from above: its label, what became of it, when it began and ended, and what stands beside it."""
    (axes,) = figure.axes
    fates = {colour: fate for fate, colour in _FATES.items()}
    found = []
    for label, box, said in zip(axes.get_yticklabels(), axes.patches, axes.texts, strict=True):
        began, ended = num2date(box.get_x()), num2date(box.get_x() + box.get_width())
        at = tuple(round((when - START).total_seconds(), 1) for when in (began, ended))
        found.append((label.get_text().split(), fates[to_hex(box.get_facecolor())], *at, said.get_text()))
    return found


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_second_is_drawn_where_it_was_read(anna):
    """A bar for each event and for what is in none, in the order of reading, over all articles."""
    figure = draw_timeline(anna.tracker.states(ANNA))
    ids = [f"…{entry.event_id[-6:]}" for entry in anna.state().history if entry.kind == "claimed"]
    assert bars(figure) == [
        (["owls", ids[0]], "reported", 0, 30, "30 s"),
        (["owls", ids[1]], "refused, set aside", 30, 90, "60 s"),
        (["owls", ids[2]], "in flight", 90, 100, "10 s"),
        (["bees", "no", "event"], "not claimed", 100, 112.5, "12.5 s"),
    ]
    assert figure.axes[0].get_title(loc="left") == "anna: 112.5 s read, 30 s reported"
    marks = ["sent", "failed", "parked"]
    assert legend(figure) == ["reported", "in flight", "refused, set aside", "not claimed", *marks]
    assert figure._repr_png_().startswith(PNG)


def test_what_the_endpoint_holds_is_told_apart(anna):
    """An event in flight that the endpoint holds all the same has arrived: its answer was lost."""
    state = anna.state()
    figure = draw_timeline(state, held=[state.ledger.claim.event_id])
    assert bars(figure)[2][1] == "in flight, and arrived"


def test_a_parked_event_on_its_way_is_one_bar(anna):
    """What is being sent again is drawn once, as in flight."""
    anna.tracker.flush_reader(ANNA)
    seen = []
    anna.use(Hooked(lambda: seen.extend(bars(draw_timeline(anna.state())))))
    anna.tracker.unpark(ANNA, OWLS)
    assert [bar[1] for bar in seen] == ["reported", "in flight", "reported"]


def test_of_many_the_newest(scene):
    """A picture stays a picture; the title says what it leaves out."""
    for number in range(MAX_BARS + 2):
        scene.read(ANNA, article(f"a{number}"), 10)
    figure = draw_timeline(scene.tracker.states(ANNA))
    assert len(bars(figure)) == MAX_BARS
    assert bars(figure)[-1][0][0] == f"a{MAX_BARS + 1}"
    assert figure.axes[0].get_title(loc="left").endswith("0 s reported; 2 older events not drawn")


def test_nothing_is_a_picture_too(scene):
    """Nobody is stored, and the picture says so."""
    figure = draw_timeline(scene.tracker.states("nobody"))
    assert figure.axes[0].get_title(loc="left") == "Nothing is stored"
    assert figure._repr_png_().startswith(PNG)


def test_without_matplotlib_it_says_what_to_install(anna, monkeypatch):
    """Whoever imports the module alone needs nothing, and loads nothing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.dates", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'caliper-readtime\[notebook\]'"):
        draw_timeline(anna.state())
    code = "import sys, caliper_readtime.notebook; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
