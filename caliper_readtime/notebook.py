"""``draw_timeline``: what became of a reader's time and when, as a picture. Matplotlib comes with the extra."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caliper_readtime._rules.account import recent
from caliper_readtime._rules.reconcile import id_of
from caliper_readtime._rules.state import ReadTimeState
from caliper_readtime._units import plural, to_datetime, to_plain_seconds
from caliper_readtime.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from matplotlib.figure import Figure

__all__ = ["draw_timeline"]

# Colours that nobody confuses (Okabe and Ito).
_FATES: Final = {
    "reported": "#0072b2",
    "in flight": "#f0e442",
    "in flight, and arrived": "#e69f00",
    "refused, set aside": "#d55e00",
    "not claimed": "#b5b5b5",
}
_MARKS: Final = {"sent": "o", "failed": "x", "parked": "s"}
_ROW_INCHES: Final = 0.55
#: Most events that are drawn; of more the newest.
MAX_BARS: Final = 60


class _Bar(NamedTuple):
    """The time of one event, or of none yet; ``seconds`` of it were active."""

    article: str
    event_id: str | None
    fate: str
    began: datetime
    ended: datetime
    seconds: str
    steps: tuple[tuple[str, datetime], ...]


def draw_timeline(states: ReadTimeState | Iterable[ReadTimeState], *, held: Iterable[str] = ()) -> Figure:
    """Draw a reader's time: a bar for each event, from the first moment it covers to the last, and what was done when.

    The last events of each article are drawn, as many as a state remembers (32); beyond 60 bars the newest.

    Args:
        states: one state, or several: ``tracker.states(reader)``.
        held: ids of the events that the endpoint is known to hold. One that it holds and the state counts as in
            flight is drawn as such: its answer was lost.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise ConfigurationError("draw_timeline needs matplotlib: pip install 'caliper-readtime[notebook]'") from error
    several = (states,) if isinstance(states, ReadTimeState) else tuple(states)
    bars = sorted(_bars(several, frozenset(held)), key=lambda bar: (bar.began, bar.ended))
    shown = bars[-MAX_BARS:]
    figure = _shown_as_png(Figure)(figsize=(9, max(2.2, _ROW_INCHES * len(shown) + 1.4)), layout="constrained")
    axes = figure.subplots()
    for row, bar in enumerate(shown):
        _draw(axes, row, bar)
    axes.set_yticks(range(len(shown)), [_label(bar) for bar in shown], family="monospace", fontsize=9)
    axes.invert_yaxis()
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel("UTC", loc="left", fontsize=9)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if named:
        order = [name for name in (*_FATES, *_MARKS) if name in named]
        figure.legend(
            [named[name] for name in order], order, loc="outside lower center", ncols=4, frameon=False, fontsize=9
        )
    axes.set_title(_title(several, len(bars) - len(shown)), loc="left", fontsize=11)
    return figure


def _shown_as_png(figure: type[Figure]) -> type[Figure]:
    """Return the kind of figure that shows itself once in a notebook, whether or not pyplot is in use there."""

    class Timeline(figure):  # type: ignore[valid-type, misc]
        def _repr_png_(self) -> bytes:
            png = BytesIO()
            self.savefig(png, format="png", dpi=110, metadata={"Software": None})
            return png.getvalue()

    return Timeline


def _bars(states: Iterable[ReadTimeState], held: frozenset[str]) -> Iterator[_Bar]:
    for state in states:
        ledger, steps = state.ledger, state.history

        def bar(event_id: str | None, fate: str, began_ms: int, ended_ms: int, length_ms: int) -> _Bar:
            return _Bar(
                state.resource_id,  # noqa: B023 - called at once
                event_id,
                fate,
                to_datetime(began_ms),
                to_datetime(ended_ms),
                f"{to_plain_seconds(length_ms)} s",
                tuple((step.kind, step.at) for step in steps if event_id and step.event_id == event_id),  # noqa: B023
            )

        for sent in recent(ledger.account):
            yield bar(id_of(state, sent), "reported", sent.began_at_ms, sent.ended_at_ms, sent.end_ms - sent.start_ms)
        claim = ledger.claim
        parked = [entry for entry in ledger.parked if claim is None or entry.event_id != claim.event_id]
        for entry in parked:
            yield bar(
                entry.event_id,
                "refused, set aside",
                entry.began_at_ms,
                entry.ended_at_ms,
                entry.end_ms - entry.start_ms,
            )
        if claim is not None:
            fate = "in flight, and arrived" if claim.event_id in held else "in flight"
            yield bar(claim.event_id, fate, claim.began_at_ms, claim.ended_at_ms, claim.end_ms - claim.start_ms)
        if state.unclaimed_ms > 0:
            meter = state.meter
            yield bar(None, "not claimed", meter.since_at_ms, meter.last_sync_at_ms, state.unclaimed_ms)


def _draw(axes: Any, row: int, bar: _Bar) -> None:
    length = bar.ended - bar.began
    axes.barh(row, length, left=bar.began, height=0.5, color=_FATES[bar.fate], edgecolor="#555555", label=bar.fate)
    # Beside it: a short bar has no room.
    axes.annotate(bar.seconds, (bar.ended, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    for kind, at in bar.steps:
        if kind in _MARKS:
            axes.scatter([at], [row - 0.4], marker=_MARKS[kind], color="#222222", s=24, label=kind, zorder=3)


def _label(bar: _Bar) -> str:
    return f"{bar.article}  {'no event' if bar.event_id is None else f'…{bar.event_id[-6:]}'}"


def _title(states: tuple[ReadTimeState, ...], left_out: int) -> str:
    if not states:
        return "Nothing is stored"
    readers = ", ".join(dict.fromkeys(state.reader_sourced_id for state in states))
    read = to_plain_seconds(sum(state.meter.cumulative_ms for state in states))
    reported = to_plain_seconds(sum(state.reported_ms for state in states))
    older = f"; {plural(left_out, 'older event')} not drawn" if left_out else ""
    return f"{readers}: {read} s read, {reported} s reported{older}"
