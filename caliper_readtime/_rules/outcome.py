"""PURE: what the fate of a claimed event does to a state (chapters K, L and P of the protocol)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from caliper_readtime._rules.account import Account, SentEvent, cut, digest, with_sent
from caliper_readtime._rules.state import MAX_PARKED, Claim, Ledger, Parked, Phase, ReadTimeState, evolved
from caliper_readtime._rules.steps import Verb, is_parked, parked_entry, remembered, rule, set_aside, settled

if TYPE_CHECKING:
    from caliper_readtime._policy import ReadTimePolicy

#: An event that was refused this often is parked whatever the endpoint did to others.
MAX_REJECTIONS: Final = 3


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
    if not claimed and not is_parked(ledger, verb.event_id):
        # K5: neither claimed nor listed, `to` at or below the pointer: it was committed before.
        if verb.end_ms <= ledger.pointer_ms:
            return state, CommitResult.BEFORE
        # K6: `to` above the pointer: the store lost the claim. What was accepted must not be sent under a new id,
        # so the pointer follows, unless somebody is already sending a new claim over it.
        if claim is not None or verb.start_ms > ledger.pointer_ms:
            return state, CommitResult.LOST
        ledger = evolved(ledger, pointer_ms=min(verb.end_ms, state.meter.cumulative_ms))
    elif claimed:
        # K1: it never lowers the pointer.
        ledger = evolved(ledger, claim=None, pointer_ms=max(ledger.pointer_ms, verb.end_ms))
    ledger = evolved(
        remembered(ledger, now, "sent", event_id=verb.event_id, ms=verb.end_ms - verb.start_ms),
        account=_accounted(verb, state.ledger, ledger.pointer_ms, now),
        parked=tuple(parked for parked in ledger.parked if parked.event_id != verb.event_id),
        last_error=None,
    )
    listed = claimed or is_parked(state.ledger, verb.event_id)
    return settled(evolved(state, ledger=ledger), now), CommitResult.SENT if listed else CommitResult.LOST


def _accounted(verb: Commit, before: Ledger, pointer_ms: int, now: int) -> Account:
    """J1, J2: return the account with the accepted event."""
    account = cut(before.account, (verb.start_ms, verb.end_ms), before.pointer_ms, pointer_ms)
    claim = before.claim
    body = "-"
    entry: Claim | Parked | None = next((one for one in before.parked if one.event_id == verb.event_id), None)
    if claim is not None and claim.event_id == verb.event_id:
        entry, body = claim, digest(claim.event)
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
        retry_after_ms: how long the endpoint asked to be left alone.
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
    retry_after_ms: int = 0


def release(verb: Release, state: ReadTimeState, now: int) -> tuple[ReadTimeState, bool]:
    """Let go of a claim; answer whether the caller still held it."""
    claim = state.ledger.claim
    # L1: release needs the current owner token.
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, False
    if not verb.counted:
        ledger = evolved(state.ledger, claim=evolved(claim, owner=None, until_at_ms=now))
        return evolved(state, ledger=ledger), True
    attempts = claim.attempts + 1
    maximum = verb.policy.max_retry_backoff_ms
    # Halved at random, never lengthened: an operator can count on the longest wait.
    doubled = int(min(maximum, verb.policy.retry_backoff_ms * 2 ** min(attempts - 1, 32)) * (1 - verb.jitter / 2))
    wait = maximum if verb.at_maximum else min(maximum, max(doubled, verb.retry_after_ms))
    claim = evolved(
        claim, owner=None, until_at_ms=now + wait, attempts=attempts, rejections=claim.rejections + verb.refused
    )
    ledger = evolved(state.ledger, claim=claim, last_error=verb.error)
    ledger = remembered(
        ledger, now, "failed", event_id=claim.event_id, ms=claim.end_ms - claim.start_ms, detail=verb.error
    )
    return evolved(state, ledger=ledger), True


@attrs.frozen
class Renew(Verb["Claim | None"]):
    """The caller needs more time: start its lease anew. Answers the claim, or None where it is no longer its own."""

    name = "renew"

    owner: str
    event_id: str
    lock_ms: int


def renew(verb: Renew, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Claim | None]:
    """Start the lease of a claim anew."""
    claim = state.ledger.claim
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, None
    claim = evolved(claim, until_at_ms=now + verb.lock_ms)
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
    """

    name = "park"

    owner: str
    event_id: str
    policy: ReadTimePolicy
    jitter: float
    status: int | None
    reason: str


def park(verb: Park, state: ReadTimeState, now: int) -> tuple[ReadTimeState, ParkResult]:
    """Park the claimed event; the pointer steps over its range, so later time is not stuck behind it (P2)."""
    ledger = state.ledger
    claim = ledger.claim
    # P1: park needs the current owner token.
    if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
        return state, ParkResult.NOT_OWNER
    if not is_parked(ledger, claim.event_id) and len(ledger.parked) >= MAX_PARKED:
        # P11: when the list is full it stays in the claim slot, released at the maximum back-off.
        stuck = Release(verb.owner, verb.event_id, verb.policy, verb.jitter, verb.reason, refused=True, at_maximum=True)
        return release(stuck, state, now)[0], ParkResult.STUCK
    ledger = set_aside(ledger, claim, parked_entry(claim, now, verb.jitter, verb.status, verb.reason), now)
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
    Phase.CLAIMED: rule(release, Phase.CLAIMED, Phase.RELEASED),
}
Renew.rules = {
    **{phase: rule(not_renewed, phase) for phase in Phase},
    Phase.CLAIMED: rule(renew, Phase.CLAIMED),
}
Park.rules = {
    **{phase: rule(not_parked, phase) for phase in Phase},
    Phase.CLAIMED: rule(park, Phase.CLAIMED, Phase.RELEASED, Phase.UNREPORTED, Phase.PARKED),
}
