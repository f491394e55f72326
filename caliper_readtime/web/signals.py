"""What a page's script says: bytes to a typed signal, and a signal to the tracker's verbs.

A message is a JSON object of at most 4 KiB::

    {"s": 1, "k": ticket, "v": view id, "t": total ms, "b": acknowledged ms, "p": 0..1, "c": true, "l": true}

``s`` is the version: a new field needs no new one, a new meaning does, and servers learn it before scripts use it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from caliper_readtime import _checks
from caliper_readtime._model import PageView, Reader
from caliper_readtime._policy import Completion
from caliper_readtime._results import Outcome
from caliper_readtime._rules.reading import too_soon, words_ms
from caliper_readtime._units import MAX_SECONDS
from caliper_readtime.errors import ConfigurationError, EmitError, InvalidInput, MissingField, StoreError
from caliper_readtime.web.refusals import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caliper_readtime._results import Accumulation, Report
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.web.tickets import Ticket

#: Longest message, in bytes; an honest one has a few hundred.
MAX_BODY: Final = 4096
#: Most braces and brackets that open in a message; an honest one has one. A thousand lists in each of a flood's bodies
#: would cost the host's garbage collector more than all the rest of a signal does.
MAX_OPENED: Final = 100
#: Largest total, in milliseconds: what a tracker takes.
MAX_TOTAL_MS: Final = round(MAX_SECONDS * 1000)
#: The version that the script speaks.
VERSION: Final = 1
_MAX_VERSION: Final = 999  # a number of 4,000 digits takes long to write, and a log no good
#: What the script may call its message; the first is what beacons send.
CONTENT_TYPES: Final = ("text/plain", "application/json")


@attrs.frozen(slots=False)  # quicker to make than with slots, and every heartbeat makes one
class PageSignal:
    """One message of a page's script.

    Attributes:
        ticket: the page's signed ticket, not verified yet; kept out of ``repr``.
        view_id: drawn by the script for this view.
        active_ms: active time of the view so far, milliseconds.
        acknowledged_ms: how much of it the script knows that the server has, milliseconds.
        part: the furthest part of the article seen, 0 to 1.
        completed: the script takes the article for read.
        leaving: the page is being left.
    """

    ticket: str = attrs.field(repr=False)
    view_id: str
    active_ms: int
    acknowledged_ms: int = 0
    part: float | None = None
    completed: bool = False
    leaving: bool = False

    def view(self, most_ms: int = MAX_TOTAL_MS) -> PageView:
        """Return the page view, its total at most ``most_ms``."""
        return PageView(self.view_id, min(self.active_ms, most_ms) / 1000, self.acknowledged_ms / 1000)


#: A signal's fields and what the message calls them.
KEYS: Final = {
    "ticket": "k",
    "view_id": "v",
    "active_ms": "t",
    "acknowledged_ms": "b",
    "part": "p",
    "completed": "c",
    "leaving": "l",
}


def _exactly(*kinds: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) not in kinds:  # a bool is an int to isinstance
            raise TypeError(kinds)
        return value

    return structure


def _converter() -> Converter:
    converter = Converter(detailed_validation=False)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float | None, _exactly(int, float))
    names: Any = {field: override(rename=key) for field, key in KEYS.items()}
    converter.register_structure_hook(PageSignal, make_dict_structure_fn(PageSignal, converter, **names))
    return converter


def _not_json(_: str) -> Any:
    raise ValueError


_STRUCTURE: Final = _converter().get_structure_hook(PageSignal)
_DECODER: Final = json.JSONDecoder(parse_constant=_not_json)  # NaN and Infinity are no JSON


def parse(body: bytes) -> PageSignal:
    """Return what a message says.

    Args:
        body: the request's body; read no more than ``MAX_BODY + 1`` bytes of a longer one.

    Raises:
        Refused: EMPTY, TOO_LARGE, NOT_JSON, UNKNOWN_VERSION or MALFORMED.
    """
    if not body:
        raise Refused(Refusal.EMPTY)
    if len(body) > MAX_BODY:
        raise Refused(Refusal.TOO_LARGE)
    said = None
    if body.count(b"{") + body.count(b"[") <= MAX_OPENED:
        try:
            said = _DECODER.decode(body.decode())
        except ValueError:  # of its own: an error that quotes the body would go on with it
            said = None
    if said is None:
        raise Refused(Refusal.NOT_JSON)
    if type(said) is not dict:
        raise Refused(Refusal.MALFORMED)
    version = said.get("s")
    if type(version) is not int or version != VERSION:
        known = type(version) is int and 0 <= version <= _MAX_VERSION
        raise Refused(Refusal.UNKNOWN_VERSION, f"version {version}" if known else "no version")
    try:
        signal: PageSignal = _STRUCTURE(said, PageSignal)
        _checks.text(signal.view_id, "v", _checks.MAX_SIGNAL_ID)
        good = (
            0 <= signal.active_ms <= MAX_TOTAL_MS
            and 0 <= signal.acknowledged_ms <= MAX_TOTAL_MS
            and (signal.part is None or 0 <= signal.part <= 1)
        )
    except (BaseValidationError, InvalidInput, KeyError, TypeError):
        good = False
    if not good:
        raise Refused(Refusal.MALFORMED)
    return signal


def take(
    tracker: ReadTimeTracker,
    ticket: Ticket,
    signal: PageSignal,
    reader: Callable[[str], Reader | None] | None = None,
    *,
    now: datetime,
    defer: bool = False,
    soon: Callable[[Report], object] | None = None,
) -> Accumulation:
    """Count a signal under its verified ticket, and report where it completes or leaves the article.

    A failed emission fails nothing: the tracker has logged it, and the time stays due.

    Args:
        tracker: takes the time.
        ticket: what the signal's ticket says.
        signal: what the script says.
        reader: asked once for each reader and article, for the e-mail address.
        now: the time that decides, ``tracker.now()``.
        defer: leave what a page that is left has unreported to the sweeper.
        soon: sends nothing itself; called with the report of what was put off, and should be sent soon.

    Raises:
        Refused: UNKNOWN_READER, HOST_FAILED or TICKET_EXPIRED.
        StoreError: the time was not taken; the script keeps it and comes back.
    """
    counted = _observe(tracker, ticket, signal, reader, now, defer=soon is not None)
    ids = ticket.reader_sourced_id, ticket.article.resource_id
    by_sweep = tracker.policy.completion is Completion.DEFER
    report = None if by_sweep else counted.report
    # What is finalized already needs no second stamp: replays of a completion are plain heartbeats.
    told = signal.completed and counted.report is None and counted.state.finalized_at is None
    # S12: a page that says so sooner than reading takes is not believed: its depth is stored, and a later signal may.
    if told and not too_soon(tracker.policy, counted.state):
        made = _report(tracker.finalize, ids, defer=by_sweep or soon is not None)
        report = None if by_sweep else made
    elif signal.leaving and (report is None or soon is None):
        made = _report(tracker.partial, ids, defer=defer or soon is not None)
        # A small rest waits for the next trigger, as it does when partial sends.
        least = tracker.policy.partial_min_seconds
        small = made is not None and made.state is not None and made.state.unreported_seconds < least
        report = None if small else made
    if soon is not None and report is not None and report.outcome is Outcome.DEFERRED:
        soon(report)
    return counted


def _report(verb: Callable[..., Report], ids: tuple[str, str], *, defer: bool) -> Report | None:
    with suppress(EmitError, StoreError):
        try:
            return verb(*ids, defer=defer)
        except ConfigurationError:  # a tracker without an emitter: somebody else's sweep sends
            return verb(*ids, defer=True)
    return None


def _observe(
    tracker: ReadTimeTracker,
    ticket: Ticket,
    signal: PageSignal,
    lookup: Callable[[str], Reader | None] | None,
    now: datetime,
    *,
    defer: bool,
) -> Accumulation:
    # A ticket that has run out still brings what was read before it did, over all its views: S7.
    expired = now > ticket.expires_at
    # S9 knows an opening that is too old by the time that it is now, and must not be told an earlier one.
    if expired and (now - ticket.opened_at).total_seconds() >= tracker.policy.state_ttl_seconds:
        raise Refused(Refusal.TICKET_EXPIRED)
    view = signal.view(ticket.lifetime_ms) if expired else signal.view()
    duration = ticket.duration_seconds or _words_seconds(tracker, ticket)
    position = None if duration is None or signal.part is None else signal.part * duration

    def observe(who: Reader | str) -> Accumulation:
        return tracker.observe_page(
            who,
            ticket.article,
            view,
            opened_at=ticket.opened_at,
            position_seconds=position,
            duration_seconds=None if position is None else duration,
            until=ticket.expires_at if expired else None,
            defer=defer,
        )

    try:
        return observe(ticket.reader_sourced_id)
    except MissingField as error:
        if error.field != "reader":
            raise
    # Nothing is stored of this reader and article yet.
    return observe(found(ticket.reader_sourced_id, lookup))


def _words_seconds(tracker: ReadTimeTracker, ticket: Ticket) -> float | None:
    """Return how long the article is by its words, where no duration says: so that how far the reader is can count."""
    needed = words_ms(tracker.policy, ticket.article.words)
    return None if needed is None else needed / 1000


def found(sourced_id: str, lookup: Callable[[str], Reader | None] | None) -> Reader:
    """Return whom the setting READER finds.

    Raises:
        Refused: UNKNOWN_READER or HOST_FAILED.
    """
    if lookup is None:
        raise Refused(Refusal.HOST_FAILED, "no setting READER says how a reader's e-mail address is found")
    failed = None
    try:
        reader = lookup(sourced_id)
    except Exception as error:  # noqa: BLE001 - not chained either: what a host's own errors quote is not known here
        failed = type(error).__name__
    if failed is not None:
        raise Refused(Refusal.HOST_FAILED, f"the setting READER raised {failed} for reader {sourced_id}")
    if reader is None:
        raise Refused(Refusal.UNKNOWN_READER, f"the setting READER knows no reader {sourced_id}")
    if not isinstance(reader, Reader):
        raise Refused(Refusal.HOST_FAILED, f"the setting READER must return a Reader, not {type(reader).__name__}")
    # Time is counted under the ticket's id, whatever form the host's has.
    return attrs.evolve(reader, sourced_id=sourced_id)
