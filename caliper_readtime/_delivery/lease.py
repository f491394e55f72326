"""``Leases``: claim, and renew what was claimed. A ``LeasedEvent`` is a claim in hand."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from caliper_readtime._logs import log_beside
from caliper_readtime._rules import AcquireClaim, Acquired, AcquireResult, Renew
from caliper_readtime._rules.outcome import MAX_FAILURES
from caliper_readtime._units import to_epoch_ms, to_seconds
from caliper_readtime.errors import ConfigurationError, StoreError
from caliper_readtime.protocols import UpdatesMany

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules import Caller
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Claim, Key, ReadTimeState
    from caliper_readtime.protocols import StateStore, Transition

R = TypeVar("R")

# Jitter must differ between hosts and forked workers, whatever seed a host gives the global generator.
_RANDOM: Final = random.SystemRandom()
#: Claims that are asked for in one go, before the lease that is left is looked at again.
_CLAIMS: Final = 100


@attrs.frozen(slots=False)  # half the time to make, and a sweep makes thousands
class LeasedEvent:
    """A claim in hand.

    Attributes:
        key: whose it is.
        generation: of the state that it was claimed from.
        claim: range and finished event.
        again: it is older than this call.
        retry: it was parked before.
        behind: an earlier event of its state was set aside.
        beside_ms: found at this claim to have been read beside another article.
        since: the monotonic clock before the claim was asked for: the lease is not older than that.
    """

    key: Key
    generation: str
    claim: Claim
    again: bool
    retry: bool
    since: float
    behind: bool = False
    beside_ms: int = 0

    @property
    def failures(self) -> int:
        """How often it has failed; what follows an event that was set aside is taken for no better than that."""
        return self.claim.attempts + (MAX_FAILURES if self.behind else 0)

    @property
    def suspect(self) -> bool:
        """It has failed so often that its next try may be the one that sets it aside, or follows one that was."""
        return self.failures >= MAX_FAILURES - 1

    @property
    def fields(self) -> dict[str, Any]:
        """What a log line says of it."""
        return {
            "delta": to_seconds(self.claim.end_ms - self.claim.start_ms),
            **self.key._asdict(),
            "event_id": self.claim.event_id,
        }


#: What was answered, the state, and the claim in hand if there is one to send.
ClaimAnswer = tuple["Acquired", "ReadTimeState | None", LeasedEvent | None]


class Leases:
    """Applies transitions by the clock that decides, and hands out claims. Thread-safe: it keeps nothing."""

    def __init__(
        self,
        store: StateStore,
        events: TimeSpentEvents | None,
        policy: ReadTimePolicy,
        clock: Callable[[], datetime] | None,
        deadline_seconds: float,
    ) -> None:
        self.store = store
        self.events = events
        self.policy = policy
        self.monotonic: Callable[[], float] = time.monotonic
        self.step = _CLAIMS if isinstance(store, UpdatesMany) else 1
        self._clock = clock
        self._deadline = deadline_seconds

    def now(self) -> int | None:
        """Return the time that the host's clock gives; None leaves it to the store."""
        return None if self._clock is None else to_epoch_ms(self._clock(), "clock")

    def moment(self) -> int:
        """Return the time that decides, for a look at something that is already in hand."""
        now = self.now()
        return self.store.now() if now is None else now

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return _RANDOM.random()

    def update(self, key: Key, transition: Transition[R]) -> tuple[R, ReadTimeState | None]:
        """Apply a transition by the clock that decides."""
        return self.store.update(key, transition, self.now())

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]]
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys; what ``update`` would raise stands for its answer."""
        now = self.now()
        if len(changes) > 1 and isinstance(self.store, UpdatesMany):
            return self.store.update_many(changes, now)
        answers: list[tuple[R, ReadTimeState | None] | StoreError] = []
        for key, transition in changes:
            try:
                answers.append(self.store.update(key, transition, now))
            except StoreError as error:
                answers.append(error)
        return answers

    def require(self) -> TimeSpentEvents:
        """Return the event builder.

        Raises:
            ConfigurationError: the tracker has no emitter, and so cannot send.
        """
        if self.events is None:
            raise ConfigurationError(
                "this tracker has no emitter, so it cannot send: pass emitter= and events=, or defer=True"
            )
        return self.events

    def take(self, keys: Sequence[Key], owner: str, caller: Caller, **asked: Any) -> list[ClaimAnswer | StoreError]:
        """Ask for a claim on each of several states; an error stands for the answer of a state that has failed.

        C8: it stops early, with fewer answers than keys, once half of the lease's margin is used.

        Args:
            keys: of the states.
            owner: token of this caller.
            caller: who asks.
            asked: more fields of ``AcquireClaim``.
        """
        began = self.monotonic()
        verb = AcquireClaim(owner, self.policy, self.require(), caller, self.jitter(), **asked)
        answers: list[ClaimAnswer | StoreError] = []
        while len(answers) < len(keys):
            since = self.monotonic()
            if answers and since - began > (self.policy.lock_seconds - self._deadline) / 2:
                break
            part = keys[len(answers) : len(answers) + self.step]
            for key, answer in zip(part, self.update_many([(key, verb) for key in part]), strict=True):
                if isinstance(answer, StoreError):
                    answers.append(answer)
                    continue
                if answer[0].beside_ms:
                    log_beside(key, answer[0].beside_ms, self.policy)
                answers.append(_leased(key, since, *answer))
        return answers

    def renew(self, leased: LeasedEvent) -> LeasedEvent | None:
        """Return the claim with a new lease, or None where somebody else has taken it over."""
        since, claim = self.monotonic(), leased.claim
        renewed, _ = self.update(
            leased.key, Renew(claim.owner or "", claim.event_id, self.policy.lock_ms, claim.ambiguous)
        )
        return None if renewed is None else attrs.evolve(leased, claim=renewed, since=since)

    def left(self, leased_events: Sequence[LeasedEvent]) -> float:
        """Return for how many seconds all of these may still be sent, if the emission is to end within the leases."""
        began = min(leased.since for leased in leased_events)
        return began + self.policy.lock_seconds - self._deadline - self.monotonic()


def _leased(key: Key, since: float, acquired: Acquired, state: ReadTimeState | None) -> ClaimAnswer:
    if acquired.result is not AcquireResult.CLAIMED or acquired.claim is None or state is None:
        return acquired, state, None
    behind = bool(state.ledger.parked)
    of = key, state.ledger.generation, acquired.claim
    leased = LeasedEvent(*of, acquired.again, acquired.retry, since, behind, acquired.beside_ms)
    return acquired, state, leased
