"""``ManyRules``: the part of the store contract about ``update_many``, for stores that have it."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from caliper_readtime._rules import AcquireResult, Commit, CommitResult, Defer, Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import ContentionError, CorruptState
from caliper_readtime.protocols import UpdatesMany
from caliper_readtime.testing._store_driver import (
    NOW,
    POLICY,
    SECOND,
    Fail,
    Look,
    Slow,
    StoreDriver,
    nonce,
    persistently,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.protocols import StateStore, Transition

_KEYS: Final = tuple(Key(f"reader {number % 7}", f"article {number}") for number in range(30))
_THREADS: Final = 8
_ROUNDS: Final = 6


class ManyRules:
    """What an update of many states does. Everything is skipped where the store has no ``update_many``."""

    @pytest.fixture
    def many(self, store: StateStore) -> UpdatesMany:
        """The store, by the verb that it need not have."""
        if not isinstance(store, UpdatesMany):
            pytest.skip("has no update_many, which is optional")
        return store

    def test_many_updates_do_what_single_ones_do(self, store: StateStore, many: UpdatesMany) -> None:
        """Answers come in the order of the keys, each as if ``update`` had made it; states and indexes follow."""
        hands = [StoreDriver(store, key) for key in _KEYS]
        assert many.update_many([], NOW) == []
        births: list[Transition[Any]] = [
            Signal(POLICY, nonce(), place * SECOND, hand.reader, hand.article, f"h{place}")
            for place, hand in enumerate(hands)
        ]
        self._equal_single_ones(hands, many, births, NOW)
        assert sorted(store.due(100, NOW)) == sorted(_KEYS[1:])
        mixed: list[Transition[Any]] = [_verb(place) for place in range(len(hands))]
        self._equal_single_ones(hands, many, mixed, NOW + SECOND)
        for reader in {key.reader_sourced_id for key in _KEYS}:
            assert sorted(store.keys(reader, NOW)) == sorted(key for key in _KEYS if key.reader_sourced_id == reader)
        commits: list[Transition[Any]] = [_commit(hand) for hand in hands]
        self._equal_single_ones(hands, many, commits, NOW + SECOND)
        for hand in hands:
            hand.now = NOW + SECOND
            if hand.state.unclaimed_ms >= SECOND:
                hand.settle()
        assert store.due(100, NOW + SECOND) == ()

    @staticmethod
    def _equal_single_ones(
        hands: Sequence[StoreDriver], many: UpdatesMany, verbs: Sequence[Transition[Any]], now: int
    ) -> None:
        wanted = []
        for hand, verb in zip(hands, verbs, strict=True):
            hand.now = now
            state, result = verb(hand.loaded, now)
            wanted.append((result, state))
        answers = many.update_many([(hand.key, verb) for hand, verb in zip(hands, verbs, strict=True)], now)
        assert answers == wanted
        assert [hand.loaded for hand in hands] == [state for _, state in wanted]

    def test_one_state_that_fails_does_not_sink_the_others(self, store: StateStore, many: UpdatesMany) -> None:
        """A typed error of one state stands in its place; its state is untouched, and the others are written."""
        hands = [StoreDriver(store, key).read() for key in _KEYS[:5]]
        bad, victim, before = CorruptState("cannot be read"), hands[2], hands[2].state
        verbs: list[tuple[Key, Transition[Any]]] = [
            (hand.key, Fail(bad) if hand is victim else take("owner")) for hand in hands
        ]
        answers: list[Any] = many.update_many(verbs, victim.now)
        for hand, answer in zip(hands, answers, strict=True):
            if hand is victim:
                assert answer is bad
                assert hand.state == before
            else:
                assert answer[0].took is AcquireResult.CLAIMED
                assert hand.state == answer[1]
        everything: list[Any] = many.update_many([(hand.key, Fail(bad)) for hand in hands], victim.now)
        assert everything == [bad] * 5

    def test_many_updates_may_come_twice(self, store: StateStore, many: UpdatesMany) -> None:
        """A driver may replay them: the second call finds what the first one left, and nothing counts twice."""
        hands = [StoreDriver(store, key) for key in _KEYS[:5]]
        births: list[tuple[Key, Transition[Any]]] = [
            (hand.key, Signal(POLICY, nonce(), SECOND, hand.reader, hand.article, "h")) for hand in hands
        ]
        counted: list[Any] = [[answer[0].accepted_ms for answer in _fine(many, births)] for _ in range(2)]
        assert counted == [[SECOND] * 5, [0] * 5]
        takes: list[tuple[Key, Transition[Any]]] = [(hand.key, take("owner")) for hand in hands]
        claims = [[answer[0].claim for answer in _fine(many, takes)] for _ in range(2)]
        assert claims[0] == claims[1]
        assert None not in claims[0]
        commits: list[tuple[Key, Transition[Any]]] = [(hand.key, hand.committing()) for hand in hands]
        accepted = [[answer[0] for answer in _fine(many, commits)] for _ in range(2)]
        assert accepted == [[CommitResult.SENT] * 5, [CommitResult.BEFORE] * 5]

    def test_many_updates_by_the_stores_own_clock(self, store: StateStore, many: UpdatesMany) -> None:
        """``now=None`` is the store's clock in this verb, too."""
        before = store.now()
        looks: list[tuple[Key, Transition[Any]]] = [(key, Look()) for key in _KEYS[:3]]
        for state, now in (answer[0] for answer in _fine(many, looks, None)):
            assert state is None
            assert type(now) is int
            assert before - SECOND <= now <= store.now() + SECOND
        hands = [StoreDriver(store, key) for key in _KEYS[:3]]
        births: list[tuple[Key, Transition[Any]]] = [
            (hand.key, Signal(POLICY, nonce(), SECOND, hand.reader, hand.article, "h")) for hand in hands
        ]
        _fine(many, births, None)
        defers: list[tuple[Key, Transition[Any]]] = [(key, Defer(finalize=False)) for key in _KEYS[:3]]
        _fine(many, defers, None)
        assert sorted(store.due(10)) == sorted(_KEYS[:3])

    def test_many_updates_at_once_lose_nothing(self, store: StateStore, many: UpdatesMany) -> None:
        """Threads update the same states, many at a time and singly: each heartbeat counts, no range is sent twice."""
        hands = [StoreDriver(store, key) for key in _KEYS[:6]]
        for hand in hands:
            hand.beat(0)

        def work(thread: int) -> list[tuple[Key, int, int]]:
            spans = []
            order = hands[thread % 6 :] + hands[: thread % 6]
            for place in range(_ROUNDS):
                beats: list[tuple[Key, Transition[Any]]] = [
                    (hand.key, Slow(Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place}"))) for hand in order
                ]
                _insistently(many, beats)
                single = Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place} single")
                persistently(partial(store.update, order[0].key, single, NOW))
                for answer in _insistently(many, [(hand.key, take(f"owner {thread}")) for hand in order]):
                    taken, state = answer
                    if taken.took is AcquireResult.CLAIMED:
                        span = (taken.claim.start_ms, taken.claim.end_ms)
                        commit = Commit(state.ledger.generation, taken.claim.event_id, *span)
                        ((accepted, _),) = _insistently(many, [(state.key, commit)])
                        if accepted is CommitResult.SENT:
                            spans.append((state.key, *span))
            return spans

        with ThreadPoolExecutor(_THREADS) as pool:
            sent = [span for spans in pool.map(work, range(_THREADS)) for span in spans]
        singles = [sum(thread % 6 == place for thread in range(_THREADS)) for place in range(6)]
        for hand, single in zip(hands, singles, strict=True):
            assert hand.state.meter.cumulative_ms == (_THREADS + single) * _ROUNDS * SECOND
            spans = sorted((start, end) for key, start, end in sent if key == hand.key)
            assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), hand.state.reported_ms]


def _verb(place: int) -> Transition[Any]:
    """Return a verb of some kind: what sweeps and flushes mix, and what writes nothing."""
    verbs: tuple[Transition[Any], ...] = (
        take("owner"),
        Signal(POLICY, nonce(), SECOND, None, None, f"later {place}"),
        Defer(finalize=True),
        Look(),
        Commit("another generation", "urn:uuid:1", 0, SECOND),
    )
    return verbs[place % len(verbs)]


def _commit(hand: StoreDriver) -> Transition[Any]:
    state: ReadTimeState = hand.state
    return Look() if state.ledger.claim is None else hand.committing()


def _fine(many: UpdatesMany, changes: Sequence[tuple[Key, Transition[Any]]], now: int | None = NOW) -> list[Any]:
    answers: list[Any] = many.update_many(changes, now)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    return answers


def _insistently(many: UpdatesMany, changes: Sequence[tuple[Key, Transition[Any]]]) -> list[Any]:
    """Return the answers, asked again for those that met too many writers."""
    answers: list[Any] = many.update_many(changes, NOW)
    for place, change in enumerate(changes):
        while isinstance(answers[place], ContentionError):
            (answers[place],) = many.update_many([change], NOW)
    return answers
