"""``examine``: asks store, clock and endpoint, and lets the pure checks judge what they say."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from caliper_readtime._model import Article, Reader
from caliper_readtime._units import to_datetime, to_epoch_ms
from caliper_readtime.doctor._findings import Finding, error, ok, warn
from caliper_readtime.doctor._judging import (
    judge,
    judge_last_sweep,
    judge_lease,
    judge_skew,
    judge_unsent,
    judge_validation,
)
from caliper_readtime.errors import EmitError, EmitterUnavailable, StoreError
from caliper_readtime.protocols import DescribesItself, ReadsBack, StatesDeadline, Validates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.protocols import StateStore

_NOBODY: Final = Reader("caliper-readtime-doctor", "nobody@example.org")
#: States that are looked through for events to ask for, and events that are asked for.
_MOST_STATES: Final = 1000
_MOST_ASKED: Final = 20
_NOTHING: Final = Article("caliper-readtime-doctor", "Example of caliper-readtime doctor", "https://example.org/doctor")


def examine(tracker: ReadTimeTracker) -> tuple[Finding, ...]:
    """Check everything that a tracker rests on. Changes nothing, and sends nothing that is kept.

    Returns:
        One finding for each check, also for those that found nothing wrong; never an exception.
    """
    checks: tuple[tuple[str, Callable[[ReadTimeTracker], Iterator[Finding]]], ...] = (
        ("store", _store),
        ("clock", _clock),
        ("emitter", _emitter),
        ("endpoint", _endpoint),
        ("sweep", _sweep),
        ("unsent", _unsent),
    )
    return tuple(finding for name, check in checks for finding in _safely(name, check, tracker))


def _safely(
    name: str, check: Callable[[ReadTimeTracker], Iterator[Finding]], tracker: ReadTimeTracker
) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(tracker))
    except StoreError as failed:
        found.append(error(f"{name}.store", str(failed), "nothing can be accepted or sent until the store answers"))
    except Exception as failed:  # noqa: BLE001 - one check must not keep the others from an operator
        text = f"the check could not be made ({type(failed).__name__})"
        found.append(error(f"{name}.failed", text, "run the newest release; if it stays so, report it"))
    return found


def _store(tracker: ReadTimeTracker) -> Iterator[Finding]:
    store = tracker.store
    if not isinstance(store, DescribesItself):
        yield ok("store.unknown", f"{store!r} does not describe itself, so it was not checked")
        return
    before = _host_ms()
    described = store.info()
    after = _host_ms()
    for name, facts in described.items():
        yield from judge(name, facts)
        if "server_time_usec" in facts and len(described) > 1:  # of one server the store's own clock tells
            yield judge_skew(name, _skew(int(facts["server_time_usec"]) // 1000, before, after))


def _clock(tracker: ReadTimeTracker) -> Iterator[Finding]:
    store: StateStore = tracker.store
    before = _host_ms()
    theirs = store.now()
    yield judge_skew(repr(store), _skew(theirs, before, _host_ms()))


def _emitter(tracker: ReadTimeTracker) -> Iterator[Finding]:
    emitter = tracker.emitter
    if emitter is None:
        yield warn("emitter.none", "this tracker has no emitter, so it reports nothing", "let another process sweep")
        return
    stated = emitter.deadline_seconds if isinstance(emitter, StatesDeadline) else None
    yield judge_lease(stated, tracker.policy.lock_seconds)


def _endpoint(tracker: ReadTimeTracker) -> Iterator[Finding]:
    emitter, events = tracker.emitter, tracker.events
    if emitter is None or events is None:
        return
    if not isinstance(emitter, Validates):
        yield ok("endpoint.validate", f"{emitter!r} has nothing to validate with")
        return
    now = _host_ms()
    event: dict[str, Any] = events.event(
        _NOBODY,
        _NOTHING,
        event_id=f"urn:uuid:{uuid4()}",
        generated_id=f"urn:uuid:{uuid4()}",
        seconds=1,
        started_at_ms=now - 1000,
        ended_at_ms=now,
    )
    problem: EmitError | None = None
    try:
        emitter.validate([event])
    except EmitError as refused:
        problem = refused
    except Exception as failed:  # noqa: BLE001 - an emitter of somebody else's, whose words may hold a secret
        problem = EmitterUnavailable(f"{emitter!r} failed with {type(failed).__name__}")
    yield judge_validation(repr(emitter), problem)


def _sweep(tracker: ReadTimeTracker) -> Iterator[Finding]:
    last = tracker.store.last_sweep()
    yield judge_last_sweep(None if last is None else to_datetime(last), tracker.now())


def _unsent(tracker: ReadTimeTracker) -> Iterator[Finding]:
    """Ask whether the endpoint holds what the store takes for unsent, as it does after a restore of an older copy."""
    emitter, now = tracker.emitter, to_epoch_ms(tracker.now(), "now")
    if not isinstance(emitter, ReadsBack):
        return
    claims = (state.ledger.claim for state in islice(tracker.store.unreported(), _MOST_STATES))
    # What is under way just now is no sign of anything.
    over = (claim for claim in claims if claim is not None and (claim.owner is None or claim.until_at_ms <= now))
    wanted = [claim.event_id for claim in islice(over, _MOST_ASKED)]
    # An endpoint that cannot be asked has been told of by its own check.
    with suppress(Exception):
        if wanted:
            yield judge_unsent(len(wanted), len(emitter.held(wanted)))


def _host_ms() -> int:
    return time.time_ns() // 1_000_000


def _skew(theirs: int, before: int, after: int) -> float:
    """Return by how many seconds a clock is ahead; 0 where it lies between two looks at the host's own."""
    return (theirs - min(max(theirs, before), after)) / 1000
