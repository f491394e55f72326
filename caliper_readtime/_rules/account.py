"""PURE: what a state remembers of the events that were made of its time, so that an endpoint can be held to it.

``Account.cuts`` tells where the reported time was cut into events, a word each (J1):

* ``30``: an event of the next 30 s (``0.25``: of 250 ms);
* ``5000:35000:32000``: an event of [5000, 35000) ms, after which the pointer stood at 32000 (K6: its claim was lost);
* ``~90000``: events up to 90000 ms that can no longer be told apart.

An event's id follows from its range, so these few bytes are all that it takes. ``Account.recent`` has a line for each
of the last events, with what it takes to send it again byte for byte (J2).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from caliper_readtime._rules.ranges import Context  # noqa: TC001 - cattrs reads the annotations
from caliper_readtime._units import to_plain_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Cut points that one state keeps, some three bytes each; of more, the older half becomes one.
MAX_CUTS: Final = 1024
#: How many of its last events can be sent again byte for byte.
MAX_RECENT: Final = 32

_NUMBER: Final = r"\d{1,15}"
_CUT: Final = rf"(?:~{_NUMBER}|{_NUMBER}:{_NUMBER}:{_NUMBER}|{_NUMBER}(?:\.\d{{1,3}})?)"
_CUTS: Final = re.compile(rf"(?:{_CUT}(?: {_CUT})*)?", re.ASCII)


@attrs.frozen(slots=False)  # quicker to make than with slots, and every event makes some
class Account:
    """The events that were made of a state's time.

    Attributes:
        cut_at_ms: the last cut point; where it is not the pointer, an older version has reported since.
        cuts: where the time was cut.
        recent: the last events that were accepted, in the order of their commits.
        contexts: what those were built from, in their order.
    """

    cut_at_ms: int = 0
    cuts: str = ""
    recent: str = ""
    contexts: tuple[Context, ...] = ()


#: Of a state whose time nothing was made of.
NO_ACCOUNT: Final = Account()


class Span(NamedTuple):
    """A range of the total, in milliseconds; ``known`` where it is one event's."""

    start_ms: int
    end_ms: int
    known: bool


class SentEvent(NamedTuple):
    """An event that was accepted, and what it takes to build it again.

    Attributes:
        start_ms: where its range begins.
        end_ms: where it ends.
        began_at_ms: when its time began.
        ended_at_ms: last sync of its time.
        sent_at_ms: when it was accepted, or last sent again.
        digest: of its bytes; "-" where nobody knows them.
        shown: the endpoint has shown it to a reconciliation.
        context: what it was built from.
    """

    start_ms: int
    end_ms: int
    began_at_ms: int
    ended_at_ms: int
    sent_at_ms: int
    digest: str
    shown: bool
    context: Context


def digest(event: str) -> str:
    """Return what tells an event's bytes from any other's."""
    return blake2b(event.encode(), digest_size=8).hexdigest()


def cut(account: Account, span: tuple[int, int], pointer_ms: int, moved_to_ms: int) -> Account:
    """Return the account after the pointer has stepped over an event, to be sent or set aside.

    Args:
        account: as it was.
        span: the event's range.
        pointer_ms: the pointer before.
        moved_to_ms: the pointer after; where it has not moved, the event was cut before.
    """
    if moved_to_ms == pointer_ms:
        return account
    words = [account.cuts] if account.cuts else []
    if account.cut_at_ms != pointer_ms:
        words.append(f"~{pointer_ms}")
    whole = span == (pointer_ms, moved_to_ms)
    words.append(to_plain_seconds(span[1] - span[0]) if whole else f"{span[0]}:{span[1]}:{moved_to_ms}")
    cuts = " ".join(words)
    if cuts.count(" ") >= MAX_CUTS:
        cuts = _merged(cuts.split(" "))
    return Account(moved_to_ms, cuts, account.recent, account.contexts)


def _merged(words: list[str]) -> str:
    older, newer = words[: len(words) // 2], words[len(words) // 2 :]
    *_, last = _walked(older)
    return " ".join([f"~{last[1]}", *newer])


def are_cuts(text: str) -> bool:
    """Return whether a text is one of cut points, so that ``cut`` and ``spans`` can never fail."""
    return _CUTS.fullmatch(text) is not None


def spans(account: Account, pointer_ms: int) -> Iterator[Span]:
    """Yield the ranges of the total below the pointer, in their order."""
    told_ms = 0
    for span, _ in _walked([*account.cuts.split(), f"~{pointer_ms}"]):
        # K6: a pointer that has climbed up to the end of a lost claim stepped over what that one's event covers.
        start_ms = span.start_ms if span.known else max(span.start_ms, told_ms)
        if start_ms < span.end_ms:
            yield span._replace(start_ms=start_ms)
        told_ms = max(told_ms, span.end_ms)


def _walked(words: Iterable[str]) -> Iterator[tuple[Span, int]]:
    """Yield each word's range, and where the pointer stood after it."""
    at_ms = 0
    for word in words:
        if word.startswith("~"):
            span, moved_to_ms = Span(at_ms, int(word[1:]), known=False), int(word[1:])
        elif ":" in word:
            start_ms, end_ms, moved_to_ms = map(int, word.split(":"))
            span = Span(start_ms, end_ms, known=True)
        else:
            moved_to_ms = at_ms + round(float(word) * 1000)
            span = Span(at_ms, moved_to_ms, known=True)
        at_ms = moved_to_ms
        yield span, at_ms


def with_sent(account: Account, event: SentEvent) -> Account:
    """Return the account with one more accepted event; the oldest makes room."""
    contexts = account.contexts
    newer = not contexts or (contexts[-1] is not event.context and contexts[-1] != event.context)
    lines = _line(event, newer=newer)
    if account.recent:
        lines = f"{account.recent}\n{lines}"
    contexts = (*contexts, event.context) if newer else contexts
    if lines.count("\n") >= MAX_RECENT:
        lines = lines.partition("\n")[2]
        if lines.partition("\n")[0].endswith("+"):
            contexts = contexts[1:]
    return Account(account.cut_at_ms, account.cuts, lines, contexts)


def with_recent(account: Account, events: Iterable[SentEvent]) -> Account:
    """Return the account with other recent events, of the same contexts in the same order."""
    before, lines = None, []
    for event in events:
        lines.append(_line(event, newer=before is None or event.context is not before))
        before = event.context
    return attrs.evolve(account, recent="\n".join(lines))


def recent(account: Account) -> tuple[SentEvent, ...]:
    """Return the last events that were accepted, in the order of their commits."""
    events, place = [], 0
    for number, line in enumerate(account.recent.split("\n") if account.recent else []):
        start, length, began, took, waited, name, shown, newer = line.split(" ")
        place += bool(number) and newer == "+"
        ended = int(began) + int(took)
        span = int(start), int(start) + int(length)
        context = account.contexts[place]
        events.append(SentEvent(*span, int(began), ended, ended + int(waited), name, shown == "1", context))
    return tuple(events)


def _line(event: SentEvent, *, newer: bool) -> str:
    """Return an event as text: times as distances, and a plus where its context is not the one before it."""
    start, end, began, ended, sent, body, shown, _ = event
    times = f"{start} {end - start} {began} {ended - began} {sent - ended}"
    return f"{times} {body} {1 if shown else 0} {'+' if newer else '-'}"
