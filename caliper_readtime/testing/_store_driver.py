"""``Hand``: works on one key of a store under test, and holds every answer against the pure rules."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

import json
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from caliper_readtime._model import Activity, App, Article, Course, Reader, Subject
from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import AcquireClaim, Acquired, Caller, Commit, Defer, Park, Release, Signal, Unpark
from caliper_readtime._rules.account import Account
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime._rules.history import with_step
from caliper_readtime._rules.state import (
    MAX_HISTORY,
    MAX_PARKED,
    MAX_VIEWS,
    Claim,
    Context,
    Key,
    Ledger,
    Meter,
    Parked,
    ReadTimeState,
)
from caliper_readtime.errors import ContentionError
from caliper_readtime.protocols import KeepsWalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._rules import Counted
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import StateStore, Transition

R = TypeVar("R")

NOW: Final = 1_790_000_000_000
SECOND: Final = 1000
DAY: Final = 86_400 * SECOND
CENTURY: Final = 36_525 * DAY
KEY: Final = Key("reader", "article")
#: With room for tests that claim much time in little.
POLICY: Final = ReadTimePolicy(leeway_seconds=1e6, catch_up_seconds=1e6)
_EVENTS: Final = TimeSpentEvents(
    "https://app.example.org", App("App", "https://app.example.org"), "https://roster.example.org"
)
_NONCES: Final = count(1)
_MOST_TRIES: Final = 500


def nonce() -> str:
    """Return 32 hex digits that were not used before."""
    return f"{next(_NONCES):032x}"


def persistently(call: Callable[[], R]) -> R:
    """Return what ``call`` returns, tried again after a ``ContentionError`` as the contract says."""
    for _ in range(_MOST_TRIES):
        try:
            return call()
        except ContentionError:
            time.sleep(0.001)
    return call()


def take(owner: str, **more: Any) -> AcquireClaim:
    """Return a request for a claim."""
    return AcquireClaim(owner, POLICY, _EVENTS, Caller.EXPLICIT, 0.0, **more)


def applied(
    verb: Transition[R], state: ReadTimeState | None, wall: Wall | None, now: int
) -> tuple[ReadTimeState | None, R, Wall | None]:
    """Return what a verb makes of a state and of its reader's record, if the store keeps any."""
    either: Any = verb
    if wall is not None and getattr(verb, "walled", False):
        state, wall, result = either.with_wall(state, wall, now)
    else:
        state, result = verb(state, now)
    return state, result, wall


@attrs.frozen
class Put:
    """A transition that stores a given state."""

    state: ReadTimeState

    def __call__(self, _: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState, int]:
        """Return the state, and the time that the store gave."""
        return self.state, now


@attrs.frozen
class Look:
    """A transition that changes nothing."""

    def __call__(
        self, state: ReadTimeState | None, now: int, /
    ) -> tuple[ReadTimeState | None, tuple[ReadTimeState | None, int]]:
        """Return the very same state, and all that the store gave."""
        return state, (state, now)


@attrs.frozen
class Slow(Generic[R]):
    """A transition that lets other threads run in the middle of another one."""

    inner: Transition[R]

    def __call__(self, state: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState | None, R]:
        """Return what the inner transition returns, after others have had their turn."""
        answer = self.inner(state, now)
        time.sleep(0)
        return answer


@attrs.frozen
class Fail:
    """A transition that raises."""

    error: Exception

    def __call__(self, _state: ReadTimeState | None, _now: int, /) -> tuple[ReadTimeState | None, None]:
        """Raise."""
        raise self.error


class StoreDriver:
    """Applies verbs to one key by a clock that stands still.

    Each answer and each stored state must equal what the pure transition makes of the state that was stored before.
    """

    def __init__(self, store: StateStore, key: Key = KEY, now: int = NOW) -> None:
        self.store = store
        self.key = key
        self.now: int = now
        self.reader: Reader = Reader(key.reader_sourced_id, "reader@example.org")
        self.article: Article = Article(key.resource_id, "Title", "https://app.example.org/article")

    def do(self, verb: Transition[R]) -> R:
        """Apply a verb."""
        *wanted, wall = applied(verb, self.loaded, self.wall, self.now)
        result, state = self.store.update(self.key, verb, self.now)
        assert [state, result] == wanted
        assert self.loaded == state
        assert self.wall == wall
        return result

    @property
    def wall(self) -> Wall | None:
        """What is stored of the reader's claimed time in wall time; None where the store keeps none of anybody."""
        return self.store.wall(self.key.reader_sourced_id, self.now) if isinstance(self.store, KeepsWalls) else None

    @property
    def loaded(self) -> ReadTimeState | None:
        """What is stored."""
        return self.store.load(self.key, self.now)

    @property
    def state(self) -> ReadTimeState:
        """What is stored, where something must be."""
        state = self.loaded
        assert state is not None
        return state

    @property
    def claim(self) -> Claim:
        """The claim that is stored, where one must be."""
        claim = self.state.ledger.claim
        assert claim is not None
        return claim

    def due(self, limit: int = 100, *, idle: int = 0) -> tuple[Key, ...]:
        """Return what is due at this time."""
        return self.store.due(limit, self.now, idle)

    def wait(self, ms: int) -> StoreDriver:
        """Let time pass."""
        self.now += ms
        return self

    def beat(self, ms: int, **more: Any) -> Counted:
        """Send a delta; the first one brings reader and article."""
        known = self.loaded is not None
        return self.do(
            Signal(
                POLICY,
                nonce(),
                ms,
                more.pop("reader", None if known else self.reader),
                more.pop("article", None if known else self.article),
                more.pop("heartbeat_id", None) or nonce(),
                **more,
            )
        )

    def read(self, ms: int = 30 * SECOND) -> StoreDriver:
        """Let time pass, and have all of it accepted."""
        self.wait(ms)
        assert self.beat(ms).accepted_ms == ms
        return self

    def take(self, owner: str = "owner", **more: Any) -> Acquired:
        """Ask for a claim."""
        return self.do(take(owner, **more))

    def committing(self) -> Commit:
        """Return the commit of the claim that is stored."""
        return Commit(self.state.ledger.generation, self.claim.event_id, self.claim.start_ms, self.claim.end_ms)

    def releasing(self, owner: str = "owner") -> Release:
        """Return the release of the claim that is stored."""
        return Release(owner, self.claim.event_id, POLICY, 0.0, "down")

    def refusing(self, owner: str = "owner") -> Park:
        """Return the refusal of the claim that is stored."""
        return Park(owner, self.claim.event_id, POLICY, 0.0, 422, "bad")

    def settle(self) -> StoreDriver:
        """Claim and commit."""
        self.take()
        self.do(self.committing())
        return self

    def park(self) -> StoreDriver:
        """Claim, and be refused."""
        self.take()
        self.do(self.refusing())
        return self

    def defer(self) -> StoreDriver:
        """Leave what there is to the sweeper."""
        self.do(Defer(finalize=False))
        return self

    def unpark(self) -> StoreDriver:
        """Let parked events try again."""
        self.do(Unpark())
        return self


def empty_state(key: Key = KEY) -> ReadTimeState:
    """Return the least that a state can be."""
    context = Context(Reader(key[0], "reader@example.org"), Article(key[1], "T", "https://app.example.org"))
    return ReadTimeState(*key, Meter(0, NOW, 0, NOW), Ledger("g", NOW, DAY, context))


def full_state(key: Key = KEY) -> ReadTimeState:
    """Return a state in which every field says something, all of it hard to write down."""
    odd = "Ünï “quoted” 猫 \U0001f989 \\ ' \" {}:|,%s%d\u2028e\u0301"
    context = Context(
        Reader(key[0], "o'reader+1@example.org"),
        Article(key[1], odd, "https://app.example.org/%7B?x=1&y=ü#z", Course(odd, "c|1"), Subject.SOCIAL_STUDIES),
    )
    said: Any = {"kind": "video", "attempt": 2, "words": 1, "extensions": {odd: [odd, 1.5, True]}}
    video = Activity(key[1], odd, context.article.url, Course("c"), Subject.FASTMATH, **said)
    other = attrs.evolve(context, article=video)
    ranges = [(place * 2 * SECOND, (place + 1) * 2 * SECOND) for place in range(MAX_PARKED + 1)]
    parked = tuple(
        Parked(
            f"urn:uuid:{place}",
            *span,
            NOW + 1,
            NOW + 2,
            other,
            NOW + 3,
            NOW + 4 + place,
            422 if place % 2 else None,
            odd,
            2,
            ambiguous=True,
            refused=False,
            tried=("0123456789abcdef",),
        )
        for place, span in enumerate(ranges[:-1])
    )
    event = json.dumps({"id": "urn:uuid:claimed", "name": odd}, ensure_ascii=False)
    claim = Claim(
        "urn:uuid:claimed", *ranges[-1], NOW + 5, NOW + 6, other, event, odd, NOW + 7, NOW + 8, 9, 2, ambiguous=True
    )
    history = ""
    for place in range(MAX_HISTORY):
        history = with_step(
            history, NOW + place, "failed", f"urn:uuid:{place}" if place % 2 else None, place * 125, odd
        )
    views = tuple((f"{place}{odd}"[:64], place * SECOND) for place in range(MAX_VIEWS))
    return ReadTimeState(
        *key,
        Meter(
            cumulative_ms=99 * SECOND + 1,
            last_sync_at_ms=NOW + 11,
            budget_ms=12,
            since_at_ms=NOW + 13,
            clamped_ms=14,
            position_ms=15,
            views=views,
            heartbeats=tuple(view for view, _ in views),
        ),
        Ledger(
            generation="7e6d5c4b-0000-4000-8000-0123456789ab",
            first_sync_at_ms=NOW + 16,
            ttl_ms=DAY + 17,
            context=context,
            duration_ms=18,
            pointer_ms=ranges[-2][1],
            accepted_to_ms=21,
            claim=claim,
            parked=parked,
            finalize_wanted=True,
            finalized_at_ms=NOW + 19,
            context_at_ms=NOW,
            deferred_at_ms=NOW + 20,
            last_error=odd,
            history=history,
            counts_from_at_ms=NOW - 21,
            widened_ms=22,
            account=Account(
                99 * SECOND, "30 0.25 ~40000 5000:35000:99000", "0 30000 1 2 3 0123456789abcdef 1 +", (other,)
            ),
            measured_ms=99 * SECOND + 1,
            beside_ms=23,
            unknown='{"newer":{"of":["a",1,null,true]}}',
        ),
    )
