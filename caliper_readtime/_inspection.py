"""PURE: why a reader got so many minutes, in plain sentences for whoever is woken at night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime._checks import without_emails
from caliper_readtime._policy import ReaderBudget, ReadTimePolicy
from caliper_readtime._results import Explanation, Status
from caliper_readtime._rules.reading import least_ms, skimmed
from caliper_readtime._rules.state import MAX_HISTORY, MAX_PARKED, SECOND
from caliper_readtime._units import (
    UNPAID_SECONDS,
    minutes_rounded_up,
    to_clock_time,
    to_datetime,
    to_plain_seconds,
    to_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caliper_readtime._model import HistoryEntry
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Claim, Key, Parked, ReadTimeState

#: Articles that one sentence names; of the others it says how many there are.
MAX_NAMED: Final = 20


def explained(
    key: Key,
    state: ReadTimeState | None,
    known_articles: tuple[str, ...],
    *,
    now: int,
    policy: ReadTimePolicy,
    events: TimeSpentEvents | None,
    last_sweep: int | None,
    beside_ms: int = 0,
) -> Explanation:
    """Return what can be said of a reader's time on an article; equal arguments give equal words.

    Args:
        key: reader and article.
        state: what is stored of them, or None.
        known_articles: resource ids of all that is stored of the reader.
        now: milliseconds since the epoch.
        policy: the rules.
        events: the event builder, or None.
        last_sweep: when a sweep last ran, or None.
        beside_ms: how much was read beside another article, over all of the reader's.
    """
    if state is None:
        return Explanation(None, tuple(_unknown(key, known_articles, policy)), known_articles)
    lines = (
        *_banked(state, events),
        *_kind(state),
        *_counted(state, policy),
        *_paced(state, policy),
        *_beside(state, beside_ms, policy),
        *_past(state),
        *_present(state, now, policy, last_sweep),
    )
    return Explanation(state, lines, known_articles)


def _at(ms: int) -> str:
    return to_clock_time(to_datetime(ms))


def _span(ms: int) -> str:
    return f"{to_plain_seconds(ms)} s"


def _event(entry: Claim | Parked) -> str:
    return f"{_span(entry.end_ms - entry.start_ms)} ({entry.event_id})"


def _unknown(key: Key, known: tuple[str, ...], policy: ReadTimePolicy) -> Iterator[str]:
    days = f"{policy.state_ttl_seconds / 86400:g}"
    yield f"Nothing is stored of reader {key.reader_sourced_id} on article {key.resource_id}: 0 min."
    yield (
        "Either no heartbeat has ever arrived, or the reader was forgotten, or everything was reported and the state"
        f" expired {days} day{'' if days == '1' else 's'} after its last use: then the endpoint has the events."
    )
    if not known:
        yield "Nothing is stored of this reader on any other article either: compare the reader's id."
        return
    named = ", ".join(known[:MAX_NAMED])
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    yield f"Known articles of this reader: {named}{more}."


def _banked(state: ReadTimeState, events: TimeSpentEvents | None) -> Iterator[str]:
    """What would be paid, which is what was asked."""
    reported = state.reported_ms
    waiting = max(0, state.unreported_ms) // SECOND * SECOND
    yield (
        f"Reader {state.reader_sourced_id}, article {state.resource_id}: {minutes_rounded_up(reported / SECOND)} min"
        f" would be banked now, for the {_span(reported)} that the endpoint has accepted."
    )
    if waiting:
        then = minutes_rounded_up((reported + waiting) / SECOND)
        yield f"{_span(waiting)} still wait; once they have arrived it would be {then} min."
    elif not reported:
        yield "No whole second was ever accepted, so there is nothing to report."
    yield f"Up to {UNPAID_SECONDS:g} s pay nothing, beyond that every begun minute, up to the host's cap."
    if events is not None:
        yield (
            "Only active seconds of SpentTime events count, with exactly this actor and activity:"
            f" {events.actor_id(state.reader_sourced_id)} and {events.activity_id(state.resource_id)}."
        )


def _kind(state: ReadTimeState) -> Iterator[str]:
    """What it is, where that is no plain article."""
    article = state.ledger.context.article
    if article.kind != "article" or article.attempt is not None:
        attempt = "" if article.attempt is None else f", attempt {article.attempt}; all attempts share this time"
        yield f"It is of the kind {article.kind}{attempt}."


def _counted(state: ReadTimeState, policy: ReadTimePolicy) -> Iterator[str]:
    """What became of the time that pages claimed."""
    meter, ledger = state.meter, state.ledger
    # B7, B8: a signal tells of what was read before it came.
    begins = ledger.counts_from_at_ms
    counts = (
        "and told of what was read before"
        if begins is None
        else f"wall time counts from {_at(begins - ledger.widened_ms)} on (the opening of the earliest page, or a"
        f" heartbeat before that signal), and {_span(policy.leeway_ms)} of leeway on top"
    )
    yield (
        f"Accepted {_span(meter.cumulative_ms)}. The first signal arrived at {_at(ledger.first_sync_at_ms)}, {counts};"
        f" the last that brought time arrived at {_at(meter.last_sync_at_ms)}. What an earlier, expired or forgotten"
        " state had is not in these numbers."
    )
    if meter.clamped_ms:
        yield (
            f"Clamped {_span(meter.clamped_ms)}, which are gone: pages claimed more than the time that had passed. The"
            f" first signal may bring {_span(policy.heartbeat_ms + policy.leeway_ms)} (more where the page was opened"
            f" earlier), later ones what has passed since and at most {_span(policy.catch_up_ms)} saved up."
        )
        if policy.max_delta_ms is not None:
            yield f"No single signal may bring more than {_span(policy.max_delta_ms)}."
    if meter.position_ms is not None and ledger.duration_ms is not None:
        least = round(least_ms(policy, ledger))
        after = f", and not before {_span(least)} were spent on it" if least else ""
        yield (
            f"The reader was last at {_span(meter.position_ms)} of {_span(ledger.duration_ms)}; the article counts as"
            f" read from {_span(round(policy.completion_ratio * ledger.duration_ms))} on{after}."
        )


def _paced(state: ReadTimeState, policy: ReadTimePolicy) -> Iterator[str]:
    """S16: whether so many words can have been read in that time; whatever it comes to, the time counts."""
    pace, words = state.words_per_minute, state.ledger.context.article.words
    if pace is not None:
        of = "all" if state.depth is None else f"{state.depth:.0%}"
        yield f"If {of} of its {words} words were read, that is {pace:.0f} words a minute."
    if skimmed(policy, state):
        yield (
            f"That was done sooner than it takes, {_span(round(least_ms(policy, state.ledger)))} at least: skimmed, or"
            " jumped to its end. Its time counts all the same."
        )


def _beside(state: ReadTimeState, of_all_ms: int, policy: ReadTimePolicy) -> Iterator[str]:
    if of_all_ms:
        then = {
            ReaderBudget.OFF: "It is not looked at any more",
            ReaderBudget.MEASURE: "It counts all the same",
            ReaderBudget.ENFORCE: "What is found now is clamped",
        }[policy.reader_budget]
        yield (
            f"{_span(state.ledger.beside_ms)} of this article were read beside another article, of all of this reader's"
            f" articles {_span(of_all_ms)}: nobody reads two at once. {then} (reader_budget)."
        )


def _past(state: ReadTimeState) -> Iterator[str]:
    if len(state.history) >= MAX_HISTORY:
        first = to_clock_time(state.history[0].at)
        yield f"Only the last {MAX_HISTORY} steps are remembered, from {first} on; earlier ones are cut off."
    for step in state.history:
        yield f"{to_clock_time(step.at)} {_step(step)}"


def _step(step: HistoryEntry) -> str:
    span, detail = _span(round(step.seconds * SECOND)), without_emails(step.detail)
    again = " again, as it may not have arrived" if step.detail == "again" else ""
    lines = {
        "clamped": f"clamped {span}: {detail}",
        "claimed": f"claimed {span} to be sent as {step.event_id}{again}",
        "sent": f"sent {span} as {step.event_id}",
        "failed": f"failed to deliver {span} ({step.event_id}): {detail}",
        "parked": f"set {span} aside ({step.event_id}): {detail}",
        "finalized": "finalized: no whole second was left",
        "deferred": f"left to the sweeper: {detail or span}",
    }
    # A newer version may know more kinds.
    return lines.get(step.kind) or " ".join(part for part in (step.kind, span, step.event_id, detail) if part)


def _present(state: ReadTimeState, now: int, policy: ReadTimePolicy, last_sweep: int | None) -> Iterator[str]:
    """What waits, for what, and until when."""
    ledger = state.ledger
    if ledger.claim is not None:
        yield from _in_flight(state, ledger.claim, now)
    for parked in ledger.parked:
        yield _refused(state, parked, now)
    yield from _unclaimed(state, policy)
    if state.due is None:
        yield "Nothing waits."
    elif last_sweep is None:
        yield "No sweep has ever run on this store: run tracker.sweep() regularly, it comes for what waits."
    else:
        yield f"The last sweep ran at {_at(last_sweep)}."
    if ledger.finalized_at_ms is not None:
        yield f"Finalized at {_at(ledger.finalized_at_ms)}."
    elif ledger.finalize_wanted:
        yield "A finalize was asked for and has not ended yet: it ends once nothing waits."
    else:
        yield "Never finalized."


def _in_flight(state: ReadTimeState, claim: Claim, now: int) -> Iterator[str]:
    until = _at(claim.until_at_ms)
    if claim.owner is not None and claim.until_at_ms > now:
        yield f"In flight: {_event(claim)}, being sent by {claim.owner}, who holds it until {until}."
    elif claim.owner is not None:
        yield (
            f"In flight: {_event(claim)}, claimed by {claim.owner}, who died or was too slow: since {until} anybody"
            " may send it, under the same id."
        )
    else:
        tries = "1 attempt" if claim.attempts == 1 else f"{claim.attempts or 'no'} attempts"
        error = f", the last with {without_emails(state.last_error)}" if claim.attempts and state.last_error else ""
        then = (
            f"Sweeps try again from {until} on, an explicit call at once"
            if claim.until_at_ms > now
            else f"It is due since {until}"
        )
        yield f"Undelivered: {_event(claim)}; {tries} failed{error}. {then}."
    if claim.doubtful(now):
        yield (
            f"That claim was first made at {_at(claim.first_claimed_at_ms)}: its event may have arrived, and the"
            " endpoint may have forgotten its id. Look for it there before it is sent again, or use an emitter with"
            " read_back."
        )


def _refused(state: ReadTimeState, parked: Parked, now: int) -> str:
    claim = state.ledger.claim
    if claim is not None and claim.event_id == parked.event_id:
        then = "it is on its way again"
    elif parked.context != state.ledger.context:
        then = "the reader or article was corrected since, so the next report or sweep sends it again"
    elif parked.retry_at_ms <= now:
        then = f"it may be sent again since {_at(parked.retry_at_ms)}"
    else:
        then = (
            f"it is sent again once the reader or article is corrected, by unpark, or from {_at(parked.retry_at_ms)} on"
        )
    status = "" if parked.status is None else f" with status {parked.status}"
    return f"Refused{status} at {_at(parked.parked_at_ms)}: {_event(parked)}, {without_emails(parked.reason)}; {then}."


def _unclaimed(state: ReadTimeState, policy: ReadTimePolicy) -> Iterator[str]:
    ledger, whole = state.ledger, max(0, state.unclaimed_ms) // SECOND * SECOND
    rest = max(0, state.unclaimed_ms) - whole
    if whole and len(ledger.parked) >= MAX_PARKED:
        yield (
            f"Not claimed yet: {_span(whole)}. {MAX_PARKED} refused events are set aside, which is the most, so sweeps"
            " leave new time alone: correct the refused ones, or call partial, finalize or flush_reader."
        )
    elif whole and ledger.claim is not None:
        yield f"Not claimed yet: {_span(whole)}, which wait for the event in flight."
    elif whole and ledger.deferred_at_ms is not None:
        yield f"Not claimed yet: {_span(whole)}, left to the next sweep since {_at(ledger.deferred_at_ms)}."
    elif whole:
        yield (
            f"Not claimed yet: {_span(whole)}. partial, finalize and flush_reader send them; a sweep does once the"
            f" reader has been idle for its idle_seconds, counted from {_at(state.meter.last_sync_at_ms)}."
        )
        if whole < policy.partial_min_ms:
            yield f"A partial leaves less than {_span(policy.partial_min_ms)} to the sweeper."
    if rest:
        yield f"{_span(rest)} do not make a whole second and are carried until more arrives."


_DEFAULTS: Final = ReadTimePolicy()
#: A sweep should have run within this many seconds; beyond it the log and ``doctor`` warn.
SWEEP_SECONDS: Final = 600.0


def status_of(
    unreported: Iterable[ReadTimeState], *, now: int, last_sweep: int | None, policy: ReadTimePolicy = _DEFAULTS
) -> Status:
    """Return the status of a store, looking at each state once.

    Args:
        unreported: every state that is due at some time.
        now: milliseconds since the epoch.
        last_sweep: when a sweep last ran, or None.
        policy: the rules.
    """
    states = total_ms = parked = doubtful = hasty = beside_ms = 0
    oldest: int | None = None
    for state in unreported:
        ledger = state.ledger
        states += 1
        total_ms += state.unreported_ms
        beside_ms += ledger.beside_ms
        parked += len(ledger.parked)
        doubtful += ledger.claim is not None and ledger.claim.doubtful(now)
        hasty += skimmed(policy, state)
        began = began_at_ms(state)
        oldest = began if oldest is None else min(oldest, began)
    return Status(
        unreported_states=states,
        unreported_seconds=to_seconds(total_ms),
        oldest_unreported_at=None if oldest is None else to_datetime(oldest),
        parked_events=parked,
        last_sweep_at=None if last_sweep is None else to_datetime(last_sweep),
        doubtful_claims=doubtful,
        beside_seconds=to_seconds(beside_ms),
        skimmed_states=hasty,
    )


def began_at_ms(state: ReadTimeState) -> int:
    """Return when the oldest unreported time of a state began to be read, in milliseconds since the epoch."""
    ledger = state.ledger
    claimed = () if ledger.claim is None else (ledger.claim.began_at_ms,)
    unclaimed = (state.meter.since_at_ms,) if state.unclaimed_ms >= SECOND else ()
    return min(
        (*claimed, *unclaimed, *(parked.began_at_ms for parked in ledger.parked)), default=state.meter.since_at_ms
    )
