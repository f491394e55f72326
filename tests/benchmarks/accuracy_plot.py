"""Accuracy simulation: the picture of the scores, the same bytes for the same scores; an opaque card, for any theme."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CARD, INK, LINE = "#fafafa", "#222222", "#cccccc"
#: Colours that the colour-blind tell apart, darkest for what matters.
SECONDS = (
    ("read and reported", "#0072b2", lambda s: s.reported - s.over),
    ("never told to the server", "#b5b5b5", lambda s: s.never_told),
    ("carried (below a second)", "#333333", lambda s: s.carried),
    ("lost though told", "#d55e00", lambda s: s.dropped),
    ("reported, not read", "#e69f00", lambda s: s.over),
)
SESSIONS = (
    ("paid nothing", "#d55e00", lambda s: s.paid_nothing),
    ("paid too little", "#eda670", lambda s: s.too_little - s.paid_nothing),
    ("paid too much", "#e69f00", lambda s: s.too_much),
)


def draw(scores, path):
    """Draw the scores into a PNG."""
    figure = Figure(figsize=(10, 4.4), dpi=150, facecolor=CARD, layout="constrained")
    FigureCanvasAgg(figure)
    seconds, sessions = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    _bars(seconds, scores, SECONDS, lambda score: score.read)
    seconds.set_title("Of the seconds read", fontsize=11, color=INK)
    seconds.axvline(100, color=INK, linewidth=1, linestyle=":")
    _bars(sessions, scores, SESSIONS, lambda score: score.sessions)
    sessions.set_title("Sessions banked wrongly", fontsize=11, color=INK)
    for place, score in enumerate(scores):
        wrong = 100 * (score.too_little + score.too_much) / score.sessions
        sessions.text(wrong + 0.5, place, f"{wrong:.1f} %", va="center", fontsize=9, color=INK)
    sessions.set_xlim(0, 1.2 * sessions.get_xlim()[1])
    seconds.set_yticks(range(len(scores)), [score.flow for score in scores])
    seconds.invert_yaxis()
    figure.savefig(path, metadata={"Software": None}, facecolor=CARD)


def _bars(axes, scores, parts, whole):
    lefts = [0.0] * len(scores)
    for label, colour, of in parts:
        widths = [100 * of(score) / whole(score) for score in scores]
        hatch = "////" if label == "reported, not read" else None
        axes.barh(range(len(scores)), widths, left=lefts, color=colour, label=label, height=0.6, hatch=hatch,
                  edgecolor=CARD, linewidth=0)  # fmt: skip
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axes.set_facecolor(CARD)
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.tick_params(colors=INK, labelsize=10, left=False)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False, fontsize=9, labelcolor=INK)
