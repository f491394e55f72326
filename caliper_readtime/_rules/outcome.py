"""PURE: what the fate of a claimed event does to a state (chapters K, L and P of the protocol)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from caliper_readtime._rules.account import Account, SentEvent, cut, digest, with_sent
from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import (
    MAX_PARKED,
    SECOND,
    Claim,
    Ledger,
    Parked,
    Phase,
    ReadTimeState,
    evolved,
)
from caliper_readtime._rules.steps import Verb, listed, remembered, retried, rule, set_aside, settled, spread

if TYPE_CHECKING:
    from caliper_readtime._policy import ReadTimePolicy

#: An event that was refused this often is parked whatever the endpoint did to others.
MAX_REJECTIONS: Final = 3
#: An event whose emission failed this often makes way for newer time, and goes alone and last in a sweep.
MAX_FAILURES: Final = 3


class CommitResult(StrEnum):
    """What a commit found."""

    SENT = "sent"
    BEFORE = "before"  # committed before, by somebody else
    GONE = "gone"  # forgotten, expired or born again
    LOST = "lost"  # the store lost the claim


@attrs.frozen
class Commit(Verb[CommitResult]):
    """The endpoint has accepted this event. Idempotent by event id; whoever sent it may say so."""

    name = "commit"

    generation: str
    event_id: str
    start_ms: int
    end_ms: int


def commit_gone(_verb: Commit, _state: None, _now: int) -> tuple[None, CommitResult]:
    """K4: after forget or expiry a commit changes nothing and never recreates a state."""
    return None, CommitResult.GONE


def commit(verb: Commit, state: ReadTimeState, now: int) -> tuple[ReadTimeState, CommitResult]:
    """Move the reported total to the end of the accepted range."""
    ledger = state.ledger
    if ledger.generation != verb.generation:
        return state, CommitResult.GONE
    claim = ledger.claim
    claimed = claim is not None and claim.event_id == verb.event_id
    known = claimed or listed(ledger, verb.event_id) is not None
    if not known:
        # K5: neither claimed nor listed, `to` at or below the pointer: it was committed before.
        if verb.end_ms <= ledger.pointer_ms:
            return state, CommitResult.BEFORE
        # K6: `to` above the pointer: the store lost the claim. What was accepted must not be sent under a new id,
        # so the pointer follows, unless somebody is already sending a new claim over it.
        if claim is not None or verb.start_ms > ledger.pointer_ms:
            return state, CommitResult.LOST
        pointer_ms = min(verb.end_ms, state.meter.cumulative_ms)
        ledger = evolved(ledger, accepted_to_ms=max(ledger.accepted_to_ms, verb.end_ms))
    else:
        # K1: it never lowers the pointer.
        pointer_ms = max(ledger.pointer_ms, verb.end_ms) if claimed else ledger.pointer_ms
    parked = ledger.parked
    ledger = remembered(
        ledger,
        now,
        "sent",
        event_id=verb.event_id,
        ms=verb.end_ms - verb.start_ms,
        claim=None if claimed else claim,
        pointer_ms=pointer_ms,
        account=_accounted(verb, state.ledger, pointer_ms, now),
        parked=parked and tuple([entry for entry in parked if entry.event_id != verb.event_id]),
        last_error=None,
    )
    return settled(evolved(state, ledger=ledger), now), CommitResult.SENT if known else CommitResult.LOST


def _accounted(verb: Commit, before: Ledger, pointer_ms: int, now: int) -> Account:
    """J1, J2: return the account with the accepted event."""
    account = cut(before.account, (verb.start_ms, verb.end_ms), before.pointer_ms, pointer_ms)
    claim = before.claim
    body = "-"
    entry: Claim | Parked | None
    if claim is not None and claim.event_id == verb.event_id:
        entry, body = claim, digest(claim.event)
    else:
        entry = listed(before, verb.event_id)
    if entry is None:
        return account
    times = (entry.start_ms, entry.end_ms, entry.began_at_ms, entry.ended_at_ms, now)
    return with_sent(account, SentEvent(*times, body, False, entry.context))  # noqa: FBT003


@attrs.frozen
class Release(Verb[bool]):
    """The event was not delivered: let others try again later.

    Attributes:
        owner: token of the caller; only the current owner may release.
        event_id: the event.
        policy: the rules.
        jitter: random number in [0, 1).
        error: why, for the operator.
        counted: an emission was tried.
        refused: the endpoint refused the event, though not for good.
        at_maximum: wait for the longest back-off at once.
        ambiguous: the event may have arrived all the same.
        wait_ms: where nothing was tried, how long to wait for it.
        status: HTTP status, where there was one.
    """

    name = "release"

    owner: str
    event_id: str
    policy: ReadTimePolicy
    jitter: float
    error: str
    counted: bool = True
    refused: bool = False
    at_maximum: bool = False
    ambiguous: bool = False
    wait_ms: int = 0
    status: int | None = None


def release(verb: Release, state: ReadTimeState, now: int) -> tuple[ReadTimeState, bool]:
    """Let go of a claim; answer whether the caller still held it."""
    ledger, claim = state.ledger, state.ledger.claim
    # L1: release needs the current owner token.
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, False
    longest = verb.policy.max_retry_backoff_ms
    if verb.counted:
        claim = evolved(
            claim,
            attempts=claim.attempts + 1,
            rejections=claim.rejections + verb.refused,
            ambiguous=claim.ambiguous or verb.ambiguous,
        )
        doubled = min(longest, verb.policy.retry_backoff_ms * 2 ** min(claim.attempts - 1, 32))
        # L2: shortened at random, never lengthened: an operator can count on the longest wait.
        until = now + spread(longest if verb.at_maximum else doubled, verb.jitter)
        ledger = remembered(
            evolved(ledger, last_error=verb.error),
            now,
            "failed",
            event_id=claim.event_id,
            ms=claim.end_ms - claim.start_ms,
            detail=verb.error,
        )
    else:
        until = now + min(longest, verb.wait_ms)
    if listed(ledger, claim.event_id) is not None:
        ledger = _back_to_the_list(ledger, claim, until, counted=verb.counted)
    elif (
        verb.counted
        and claim.attempts >= MAX_FAILURES
        and state.unclaimed_ms >= SECOND
        and len(ledger.parked) < MAX_PARKED
    ):
        # P12: newer time waits behind it.
        reason = f"unavailable: {verb.error}"
        ledger = set_aside(ledger, claim, now, until, verb.status, reason, refused=False)
    else:
        ledger = evolved(ledger, claim=evolved(claim, owner=None, until_at_ms=until))
    return evolved(state, ledger=ledger), True


def _back_to_the_list(ledger: Ledger, claim: Claim, until: int, *, counted: bool) -> Ledger:
    """P9: a retry that failed leaves the claim slot; what it was built from counts as tried (P5)."""
    parked = tuple(
        entry
        if entry.event_id != claim.event_id
        else attrs.evolve(entry, ambiguous=claim.ambiguous)
        if not counted
        else attrs.evolve(
            entry,
            context=claim.context,
            retry_at_ms=until,
            attempts=claim.attempts,
            ambiguous=claim.ambiguous,
            refused=entry.refused and entry.context == claim.context,
            tried=retried(ledger, claim),
        )
        for entry in ledger.parked
    )
    return evolved(ledger, claim=None, parked=parked)


@attrs.frozen
class Renew(Verb["Claim | None"]):
    """The caller needs more time: start its lease anew. Answers the claim, or None where it is no longer its own.

    Attributes:
        owner: token of the caller.
        event_id: the event.
        lock_ms: how long the new lease lasts.
        ambiguous: an emission has just failed in a way that may have delivered it.
    """

    name = "renew"

    owner: str
    event_id: str
    lock_ms: int
    ambiguous: bool = False


def renew(verb: Renew, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Claim | None]:
    """Start the lease of a claim anew."""
    claim = state.ledger.claim
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, None
    claim = evolved(claim, until_at_ms=now + verb.lock_ms, ambiguous=claim.ambiguous or verb.ambiguous)
    return evolved(state, ledger=evolved(state.ledger, claim=claim)), claim


def not_renewed(_verb: Renew, state: ReadTimeState | None, _now: int) -> tuple[ReadTimeState | None, None]:
    """Leave a state alone in which nobody holds a claim."""
    return state, None


class ParkResult(StrEnum):
    """What came of a refusal."""

    PARKED = "parked"
    STUCK = "stuck"  # the parked list is full: it stays in the claim slot
    NOT_OWNER = "not_owner"


@attrs.frozen
class Park(Verb[ParkResult]):
    """The endpoint will never accept this event as it is: set it aside.

    Attributes:
        owner: token of the caller; only the current owner may park.
        event_id: the event.
        policy: the rules.
        jitter: random number in [0, 1).
        status: HTTP status.
        reason: why, for the operator.
        refused: the event itself was refused, so that it has not arrived; otherwise it keeps its bytes (I7).
        unavailable: nobody has refused it, so it is tried again after the longest back-off, not after a day (P4).
    """

    name = "park"

    owner: str
    event_id: str
    policy: ReadTimePolicy
    jitter: float
    status: int | None
    reason: str
    refused: bool = True
    unavailable: bool = False


def park(verb: Park, state: ReadTimeState, now: int) -> tuple[ReadTimeState, ParkResult]:
    """Park the claimed event; the pointer steps over its range, so later time is not stuck behind it (P2)."""
    ledger = state.ledger
    claim = ledger.claim
    # P1: park needs the current owner token.
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, ParkResult.NOT_OWNER
    if listed(ledger, claim.event_id) is None and len(ledger.parked) >= MAX_PARKED:
        # P11: when the list is full it stays in the claim slot, released at the maximum back-off.
        stuck = Release(verb.owner, verb.event_id, verb.policy, verb.jitter, verb.reason, refused=True, at_maximum=True)
        return release(stuck, state, now)[0], ParkResult.STUCK
    if verb.unavailable:
        retry_at_ms = now + spread(verb.policy.max_retry_backoff_ms, verb.jitter)
    else:
        retry_at_ms = now + int(LONGEST_WAIT_MS * (1 - verb.jitter / 20))
    ledger = set_aside(ledger, claim, now, retry_at_ms, verb.status, verb.reason, refused=verb.refused)
    return settled(evolved(state, ledger=ledger), now), ParkResult.PARKED


def not_released(_verb: Release, state: ReadTimeState | None, _now: int) -> tuple[ReadTimeState | None, bool]:
    """Leave a state alone in which nobody holds a claim."""
    return state, False


def not_parked(_verb: Park, state: ReadTimeState | None, _now: int) -> tuple[ReadTimeState | None, ParkResult]:
    """Leave a state alone in which nobody holds a claim."""
    return state, ParkResult.NOT_OWNER


Commit.rules = {
    Phase.ABSENT: rule(commit_gone, Phase.ABSENT),
    Phase.SETTLED: rule(commit, Phase.SETTLED),
    Phase.PARKED: rule(commit, Phase.PARKED, Phase.SETTLED),
    Phase.UNREPORTED: rule(commit, Phase.UNREPORTED, Phase.PARKED, Phase.SETTLED),
    Phase.CLAIMED: rule(commit, Phase.CLAIMED, Phase.UNREPORTED, Phase.PARKED, Phase.SETTLED),
    Phase.RELEASED: rule(commit, Phase.RELEASED, Phase.UNREPORTED, Phase.PARKED, Phase.SETTLED),
}
Release.rules = {
    **{phase: rule(not_released, phase) for phase in Phase},
    Phase.CLAIMED: rule(release, Phase.CLAIMED, Phase.RELEASED, Phase.UNREPORTED, Phase.PARKED),
}
Renew.rules = {
    **{phase: rule(not_renewed, phase) for phase in Phase},
    Phase.CLAIMED: rule(renew, Phase.CLAIMED),
}
Park.rules = {
    **{phase: rule(not_parked, phase) for phase in Phase},
    Phase.CLAIMED: rule(park, Phase.CLAIMED, Phase.RELEASED, Phase.UNREPORTED, Phase.PARKED),
}
