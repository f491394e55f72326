"""Random histories: the heartbeat script equals the pure transition to the millisecond, on a real Redis and a fake."""

from __future__ import annotations

from collections import Counter
from hashlib import sha1

import attrs
import pytest
from fakeredis import FakeRedis, FakeServer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from caliper_readtime import CorruptState, InMemoryStateStore, Reader, ReadTimePolicy, RedisStateStore
from caliper_readtime._rules import (
    AcquireClaim,
    AcquireResult,
    Caller,
    Commit,
    Defer,
    Park,
    Release,
    Renew,
    Signal,
    Unpark,
)
from caliper_readtime._rules.state import SECOND, Key
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.stores._redis import scripts
from tests.backends import redis_store
from tests.scenes import OWLS, START, activity, article, events

DAY = 86_400 * SECOND
KEYS = [Key("anna", "owls"), Key("anna", "bees"), Key("ben |:{}%", "owls 猫")]
EVENTS = events()
_SLACK = 600_000
#: Every reason for which the script leaves a signal to the pure transition.
REASONS = (
    "birth",
    "parked",
    "another reader",
    "another article",
    "first duration",
    "nothing whole",
    "opened before the budget begins",
    "large numbers",
    "read to the end",
    "read for long enough",
    "words had their time",
)
#: What the script itself must have met, or it has proved nothing.
SOMETIMES = (
    "a known id", "a known view", "a view that the state does not know", "clamped", "clock stepped back",
    "defers and counts", "finalized before", "in flight", "lost entry restored", "more ids than are kept",
    "more views than are kept", "most that one signal may add", "opened long ago", "other duration",
    "nothing was unreported", "position alone", "released", "smaller total",
)  # fmt: skip

# A few names, so that they come again, and more of them than a state keeps.
numbers = st.integers(0, 2) | st.integers(0, 30)
lengths = st.sampled_from([0, 1, 999, 1000, 1001, 86_400_000, 315_360_000_000]) | st.integers(0, 20_000)
moments = st.none() | lengths | st.integers(-5000, 200_000)
signals = st.fixed_dictionaries(
    {
        "view": st.none() | numbers,
        "beat": st.none() | numbers,
        "claimed": st.integers(0, 30_000) | st.integers(500, 6000) | lengths,
        "acknowledged": st.just(0) | st.integers(0, 20_000),
        "opened": st.none() | st.none() | moments,
        "position": st.none() | st.none() | lengths,
        "duration": st.sampled_from([None] * 6 + [0, 60_000, 64_000, 90_000]),
        "reader": st.sampled_from([None, None, None, "own", "own", "own", "own", "new"]),
        "article": st.sampled_from([None, None, None, "own", "own", "own", "own", "new"]),
    }
)
# No step back undoes an expiry: whether a state is still there then is each store's own affair.
waits = st.integers(0, 12_000) | st.sampled_from([0, 1, 31_000, 3_601_000, -1, -3000])
bursts = st.lists(st.tuples(waits, signals), min_size=1, max_size=8)
keys = st.sampled_from(KEYS)
policies = st.builds(
    ReadTimePolicy,
    heartbeat_seconds=st.sampled_from([1.0, 10.0]),
    leeway_seconds=st.sampled_from([0.0, 5.0]),
    catch_up_seconds=st.sampled_from([0.0, 300.0, 200_000.0]),
    max_delta_seconds=st.sampled_from([None, None, 4.0]),
    completion_ratio=st.sampled_from([0.95, 1.0, 1 / 3]),
    completion_dwell_seconds=st.sampled_from([None] * 4 + [600.0, 45.001]),
    completion_words_per_minute=st.sampled_from([None, None, 300, 0.7, 1e5 / 3]),
    completion_playback_rate=st.sampled_from([2.0, 1, 1.1]),
)


@attrs.frozen
class Enlarge:
    """A transition: more was clamped than Lua writes without an exponent."""

    def __call__(self, state, _now, /):
        if state is None:
            return None, None
        return attrs.evolve(state, meter=state.meter._replace(clamped_ms=10**14)), None


class Overhearing:
    """A way to Redis that notes what the heartbeat script answers."""

    def __init__(self, inner):
        self.inner = inner
        self.beats = []

    def run(self, script, keys, args, key=None):
        answer = self.inner.run(script, keys, args, key)
        if script.name == "beat":
            self.beats.append(answer[0] >= 0)
        return answer

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Differential(RuleBasedStateMachine):
    """The same transitions at the same times: here by Redis, there by pure functions on a dict."""

    def __init__(self, make, seen):
        super().__init__()
        self.redis, self.pure, self.seen = make(), InMemoryStateStore(), seen
        self.link = self.redis._redis = Overhearing(self.redis._redis)
        self.now = to_epoch_ms(START, "now")
        self.steps = self.steadies = 0
        self.policy = ReadTimePolicy()
        whats = article("owls", words=157), activity("bees", "video"), OWLS
        pairs = zip(KEYS, whats, strict=True)
        self.contexts = {
            key: (Reader(key[0], "a@example.org"), attrs.evolve(what, resource_id=key[1])) for key, what in pairs
        }
        self.claims = {key: [] for key in KEYS}  # (generation, claim) of all that were ever made

    def teardown(self):
        self.redis.close()

    @initialize(policy=policies)
    def begin(self, policy):
        self.policy = policy
        for key in KEYS[:2]:
            self.apply(key, Signal(policy, self.nonce(), 6000, *self.contexts[key], "birth"))
            self.now += 5000

    def nonce(self):
        self.steps += 1
        return f"{self.steps:032x}"

    def apply(self, key, transition):
        """Apply a transition on both sides, and compare what comes of it; return the result and the state."""
        wanted = self.pure.update(key, transition, self.now)
        found = self.redis.update(key, transition, self.now)
        assert found == wanted
        self.compare(key)
        return wanted

    def compare(self, key):
        """State, due entries (kind and time) and expiry, as they are stored."""
        wanted = self.pure.load(key, self.now)
        assert self.redis.load(key, self.now) == wanted
        names, client = self.redis._layout.names(key), self.redis.client
        due = self.pure._due.entries.get(key)
        scores = client.zscore(names.due, names.member), client.zscore(names.idle, names.member)
        assert scores == ((None, None) if due is None else (None, due.at_ms) if due.soft else (due.at_ms, None))
        if wanted is not None:
            expires, lives = wanted.expires_at_ms, client.pttl(names.state)
            assert client.zscore(names.reader, names.resource) == (float("inf") if expires is None else expires)
            assert bool(client.sismember(names.parked, names.member)) == bool(wanted.ledger.parked)
            # Counted down by the server's own clock since the last write, which may have come after a step back.
            longest = scripts.GRACE_MS + wanted.ledger.ttl_ms + _SLACK
            assert lives == -1 if expires is None else scripts.GRACE_MS - _SLACK <= lives <= longest

    @rule(key=keys, signals=bursts)
    def beat(self, key, signals):
        """Some signals of one reader, with time between them."""
        for wait, values in signals:
            self.wait(wait)
            self.signal(key, values)

    @rule(key=keys, gaps=st.lists(st.integers(900, 11_000), min_size=2, max_size=25))
    def read(self, key, gaps):
        """One honest view after another: more of them than a state keeps."""
        state = self.pure.load(key, self.now)
        for place, gap in enumerate(gaps):
            self.wait(gap)
            names = {"view": 100 + self.steps, "beat": None} if place % 2 else {"view": None, "beat": 100 + self.steps}
            context = "own" if state is None else None
            more = {"acknowledged": 0, "opened": None, "position": None, "duration": None}
            self.signal(key, {"claimed": gap, "reader": context, "article": context, **names, **more})
            state = self.pure.load(key, self.now)

    def signal(self, key, values):
        """One signal; whether the script took it is foretold."""
        before = self.pure.load(key, self.now)
        new_reader, new_article = values["reader"] == "new", values["article"] == "new"
        reader, what = self.contexts[key]
        if new_reader:
            reader = attrs.evolve(reader, email=f"n{self.steps}@example.org")
        if new_article:
            what = attrs.evolve(what, title=f"New {self.steps}")
        if before is None or values["reader"] is not None:
            self.contexts[key] = reader, self.contexts[key][1]
        if before is None or values["article"] is not None:
            self.contexts[key] = self.contexts[key][0], what
        nonce, view, beat = self.nonce(), values["view"], values["beat"]
        signal = Signal(
            self.policy,
            nonce,
            values["claimed"],
            None if before is not None and values["reader"] is None else reader,
            None if before is not None and values["article"] is None else what,
            nonce[16:] if beat is None or view is not None else f"beat-{beat}",
            None if view is None else f"view-{view}",
            0 if view is None else min(values["acknowledged"], values["claimed"]),
            None if view is None or values["opened"] is None else max(0, self.now - values["opened"]),
            values["position"],
            values["duration"],
            defers=self.steps % 2 == 0,
        )
        entry = self.pure._due.entries.get(key)
        after, counted = signal(before, self.now)
        reason = declines(signal, before, counted, after)
        self.link.beats.clear()
        self.apply(key, signal)
        assert self.link.beats == [reason is None], reason
        if reason is not None:
            self.seen[reason] += 1
            return
        self.seen["steady"] += 1
        for name, met in met_by(signal, before, counted, after, self.now).items():
            self.seen[name] += met
        self.seen["lost entry restored"] += entry is None and self.pure._due.entries.get(key) is not None

    @rule(wait=waits | st.just(40 * DAY))
    def wait(self, wait):
        self.now += wait

    @rule(
        key=keys,
        owner=st.sampled_from("ab"),
        finalize=st.booleans(),
        outcome=st.sampled_from([None, "commit", "commit", "release", "refuse", "renew"]),
        signals=bursts,
    )
    def report(self, key, owner, finalize, outcome, signals):
        """A claim, what becomes of it, and signals after that."""
        self.keep(key, *self.apply(key, self.taking(key, owner, finalize=finalize)))
        if outcome is not None and self.claims[key]:
            self.settle(key, outcome, *self.claims[key][-1])
        self.beat(key, signals)

    def taking(self, key, owner, *, finalize=False):
        """A request for a claim, with the newest context, so that parked events heal."""
        return AcquireClaim(owner, self.policy, EVENTS, Caller.EXPLICIT, 0.5, *self.contexts[key], finalize=finalize)

    def keep(self, key, acquired, state):
        """Remember a claim, for whatever becomes of it."""
        if acquired.result is AcquireResult.CLAIMED:
            self.claims[key].append((state.ledger.generation, acquired.claim))

    def settle(self, key, outcome, generation, claim):
        """What becomes of a claim."""
        match outcome:
            case "commit":
                self.apply(key, Commit(generation, claim.event_id, claim.start_ms, claim.end_ms))
            case "release":
                self.apply(key, Release(claim.owner, claim.event_id, self.policy, 0.5, "down"))
            case "refuse":
                self.apply(key, Park(claim.owner, claim.event_id, self.policy, 0.5, 422, "bad"))
            case "renew":
                self.apply(key, Renew(claim.owner, claim.event_id, 5000))

    @rule(key=keys, place=st.integers(0, 3), outcome=st.sampled_from(["commit", "release", "refuse", "renew"]))
    def settle_late(self, key, place, outcome):
        """The same for an older claim."""
        if len(self.claims[key]) > place:
            self.settle(key, outcome, *self.claims[key][-1 - place])

    @rule(owner=st.sampled_from("ab"), commits=st.booleans())
    def report_all(self, owner, commits):
        """Claims and commits of all keys at once."""
        takes = [(key, self.taking(key, owner)) for key in KEYS]
        for key, answer in zip(KEYS, self.apply_many(takes), strict=True):
            self.keep(key, *answer)
        newest = [(key, *self.claims[key][-1]) for key in KEYS if self.claims[key] and commits]
        self.apply_many([(key, Commit(born, c.event_id, c.start_ms, c.end_ms)) for key, born, c in newest])

    def apply_many(self, changes):
        """Apply many transitions at once there, one after the other here."""
        wanted = [self.pure.update(*change, self.now) for change in changes]
        assert self.redis.update_many(changes, self.now) == wanted
        for key, _ in changes:
            self.compare(key)
        return wanted

    @rule(key=keys, finalize=st.booleans(), signals=bursts)
    def defer(self, key, finalize, signals):
        """What is left to the sweeper, and signals after that."""
        self.apply(key, Defer(finalize=finalize))
        self.beat(key, signals)

    @rule(key=keys, what=st.sampled_from(["unpark", "lose", "lose", "enlarge", "delete"]), signals=bursts)
    def rarely(self, key, what, signals):
        """What operators do, what a far future brings, an index that is lost, and signals after that."""
        match what:
            case "unpark":
                self.apply(key, Unpark())
            case "enlarge":
                self.apply(KEYS[-1], Enlarge())
            case "delete":
                # What has expired may count here, and not there.
                assert self.redis.delete(key.reader_sourced_id) >= self.pure.delete(key.reader_sourced_id)
            case "lose":
                self.lose_due(key)
        self.beat(key, signals)

    def lose_due(self, key):
        """Remove a due entry behind the stores' backs."""
        names, client = self.redis._layout.names(key), self.redis.client
        client.zrem(names.due, names.member)
        client.zrem(names.idle, names.member)
        self.pure._due.entries.pop(key, None)

    @invariant()
    def agree(self):
        """What is due, who is parked, and whose states there are."""
        for idle in (0, 60_000):
            assert sorted(self.redis.due(99, self.now, idle)) == sorted(self.pure.due(99, self.now, idle))
        assert sorted(map(repr, self.redis.parked(9))) == sorted(map(repr, self.pure.parked(9)))
        for reader in ("anna", "ben |:{}%"):
            assert sorted(self.redis.keys(reader, self.now)) == sorted(self.pure.keys(reader, self.now))


def verb_of(take, context):
    """The same question for another state."""
    return attrs.evolve(take, reader=context[0], article=context[1])


def declines(signal, state, counted, after):
    """Why the script has to leave this signal to the pure transition; None for a steady one."""
    if state is None:
        return "birth"
    ledger, meter, dwell = state.ledger, state.meter, signal.policy.completion_dwell_ms
    long = dwell is not None and meter.cumulative_ms + counted.accepted_ms >= dwell
    reasons = {
        "parked": ledger.parked != (),
        "another reader": signal.reader not in (None, ledger.context.reader),
        "another article": signal.article not in (None, ledger.context.article),
        "first duration": bool(signal.duration_ms) and ledger.duration_ms is None,
        "large numbers": meter.clamped_ms >= scripts.LARGEST_IN_LUA,
        "opened before the budget begins": counted.accepted_ms + counted.clamped_ms > 0
        and (ledger.widened_ms < signal.policy.catch_up_ms)
        and signal.opened_at_ms is not None
        and signal.opened_at_ms < ledger.counts_from_at_ms - ledger.widened_ms,
        "nothing whole": state.due is None and state.unclaimed_ms + counted.accepted_ms < SECOND,
        "read for long enough": counted.completed and long,
        "words had their time": counted.completed and after.depth is None,
        # What is at the end sooner than it takes is left to the transition as well.
        "read to the end": ledger.finalized_at_ms is None and (after.depth or 0) >= signal.policy.completion_ratio,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def met_by(signal, before, counted, after, now):
    """What is worth meeting in a steady signal."""
    meter, kept = before.meter, scripts.MAX_VIEWS
    by_id = signal.view_id is None
    views = dict(meter.views)
    known = views.get(signal.view_id)
    claim = before.ledger.claim
    return {
        "a known id": by_id and counted.duplicate,
        "a known view": known is not None and counted.accepted_ms > 0,
        "a view that the state does not know": known is None and signal.acknowledged_ms > 0 and counted.accepted_ms > 0,
        "clamped": counted.clamped_ms > 0,
        "clock stepped back": now < meter.last_sync_at_ms and counted.accepted_ms > 0,
        "defers and counts": signal.defers and counted.accepted_ms > 0,
        "finalized before": before.ledger.finalized_at_ms is not None,
        "in flight": claim is not None and claim.owner is not None,
        "released": claim is not None and claim.owner is None,
        "more ids than are kept": len(meter.heartbeats) == kept and after.meter.heartbeats != meter.heartbeats,
        "more views than are kept": len(views) == kept and not by_id and known is None and counted.accepted_ms > 0,
        "most that one signal may add": counted.accepted_ms == signal.policy.max_delta_ms,
        "opened long ago": signal.opened_at_ms is not None and now - signal.opened_at_ms >= DAY,
        "nothing was unreported": before.due is None,
        "other duration": counted.other_duration,
        "position alone": not counted.accepted_ms + counted.clamped_ms and after.meter.position_ms != meter.position_ms,
        "smaller total": known is not None and signal.offered_ms < known,
    }


class Fakes:
    """Stores on a fake server each."""

    def __call__(self):
        return RedisStateStore(FakeRedis(server=FakeServer()))


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "fakeredis"])
def make(request, tmp_path):
    """A function that makes a store that holds nothing yet."""
    if request.param == "fakeredis":
        return Fakes()

    def make():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return redis_store(folder)

    return make


def played(make, play):
    """Play on a fresh machine; return what it has seen."""
    seen = Counter()
    machine = Differential(make, seen)
    try:
        play(machine)
    finally:
        machine.teardown()
    return seen


def test_the_script_equals_the_transition(make):
    """T4: Result, state, due entry and expiry are equal after each step; what the script declines is what it must."""
    seen, fake = Counter(), isinstance(make, Fakes)
    examples = settings().max_examples // (4 if fake else 1)
    run_state_machine_as_test(lambda: Differential(make, seen), settings=settings(max_examples=examples))
    assert seen["steady"] > 10, seen
    if not fake:  # where there are enough of them
        assert 2 * seen["steady"] > sum(seen[reason] for reason in REASONS), seen
        assert sum(seen[reason] > 0 for reason in REASONS) > 4, seen


def history(machine):
    """One history that meets each reason to decline, and all that is rare in a steady signal, on purpose."""
    key = KEYS[0]
    plain = {
        "view": None,
        "beat": None,
        "claimed": 3000,
        "acknowledged": 0,
        "opened": None,
        "position": None,
        "duration": None,
        "reader": None,
        "article": None,
    }

    def signal(wait=4000, **values):
        machine.wait(wait)
        machine.signal(key, {**plain, **values})

    policy = ReadTimePolicy(
        max_delta_seconds=2.5, catch_up_seconds=10, completion_dwell_seconds=200, completion_ratio=0.5
    )
    machine.begin(policy)
    signal(beat=1)
    signal(beat=1)
    for view in range(20):
        signal(view=view, position=view)
        signal(beat=100 + view)
    signal(view=19, claimed=9000)
    signal(view=19, claimed=5)
    signal(view=50, claimed=5000, acknowledged=3000)
    signal(view=54, opened=500)
    signal(view=51, opened=2 * DAY)
    signal(view=53, opened=2 * DAY)
    signal(view=52, claimed=9000, opened=500)
    signal(wait=20_000)
    for _ in range(6):
        signal(wait=0)
    signal(claimed=0, beat=7)
    signal()
    signal(wait=-1000)
    signal(claimed=0, position=77)
    signal(duration=60_000)
    signal(duration=90_000)
    signal(reader="own", article="own")
    signal(reader="new")
    signal(article="new")
    machine.lose_due(key)
    signal()
    machine.report(key, "a", False, None, [(1000, plain)] * 3)
    machine.settle(key, "release", *machine.claims[key][-1])
    signal()
    machine.report(key, "b", False, "commit", [])
    machine.report(key, "b", True, "commit", [(1000, {**plain, "claimed": 300}), (1000, {**plain, "claimed": 500})])
    signal(claimed=2500)
    signal(claimed=1200)  # the state is finalized
    machine.report(key, "b", False, "refuse", [(1000, plain)])
    machine.wait(40 * DAY)
    machine.apply(key, Unpark())
    machine.report(key, "b", False, "commit", [])
    machine.report(key, "b", False, "commit", [(1000, plain)] * 2)
    machine.apply(key, Enlarge())
    signal()
    machine.rarely(KEYS[1], "delete", [(1000, {**plain, "reader": "own", "article": "own"})] * 2)
    signal(duration=60_000)
    signal(position=59_000)
    machine.report(
        KEYS[1],
        "b",
        True,
        "commit",
        [(4000, {**plain, **more}) for more in ({"duration": 60_000}, {"position": 59_000}, {})],
    )
    own = {**plain, "reader": "own", "article": "own"}
    machine.beat(KEYS[2], [(4000, {**own, **more}) for more in ({}, {"duration": 60_000}, {"position": 30_000})])
    machine.rarely(KEYS[2], "delete", [(4000, own)] * 90)  # read by time alone
    machine.policy = attrs.evolve(policy, completion_words_per_minute=300, completion_dwell_seconds=None)
    machine.rarely(
        key, "delete", [(4000, {**own, "duration": 60_000, "position": 1})] * 16
    )  # words, and not at the end
    machine.rarely(key, "delete", [(4000, own)] * 16)  # words alone
    machine.report(key, "b", True, "commit", [(4000, own)] * 3)


def test_every_reason_and_every_rare_signal(make):
    """Each reason to decline occurs, and all that is rare in a steady signal; both sides stay equal."""
    seen = played(make, history)
    assert [name for name in (*REASONS, *SOMETIMES) if not seen[name]] == [], seen


#: Small mistakes in the script: what stands there, and what might.
MISTAKES = [
    ("if elapsed > 0 then", "if true then"),
    ("allowed = allowed + elapsed", ""),
    ("last_sync = string.format('%d', moment)", ""),
    ("budget = 10000", ""),
    ("accepted > 2500", "false"),
    ("accepted > allowed", "false"),
    ("clamped_in_all = clamped_in_all + clamped", ""),
    ("counts_from - widened > opened + 0", "false"),
    ("counts_from - widened > opened + 0", "true"),
    ("and widened + 0 < 10000", ""),
    ("since = math.max(0, moment - accepted)", "since = moment"),
    ("count >= 16", "count > 16"),
    ("again = meter:match('^[^\\n\\t]+\\t%d+\\n()', again)", ""),
    ("ids ~= '16'", "true"),
    ("known, after = acknowledged, nil", "known, after = 0, nil"),
    ("claimed, duplicate = 0, 1", "claimed, duplicate = 0, 0"),
    ("total > most", "false"),
    ("cumulative - claimed_to >= 1000", "cumulative - claimed_to > -1"),
    ("'NX', ", ""),
    ("if finalized == '' and", "if"),
    ("cumulative + 0 >= 200000", "cumulative + 0 > 203000"),
    ("or 200000 then", "then"),
    ("position / duration >=", "position / duration >"),
    ("reader ~= meter:sub", "false and reader ~= meter:sub"),
    ("article ~= meter:sub", "false and article ~= meter:sub"),
    ("ARGV[10] == '1' and duration == ''", "false"),
    ("cumulative + 0 >= words * 60000 / 300", "cumulative + 0 >= words * 60000 / 300 + 3000"),
    ("or 300 then", "then"),
    ("300 and not placed and", "300 and"),
    (" or position ~= old_position", ""),
    ("claimed > 0 or added ~= ''", "claimed > 0"),
    ("#clamped_in_all > 13", "false"),
    ("kept, again = from, after", "kept, again = from, #meter + 1"),
    ("if ids ~= '0' then", "if false then"),
    ("expires == '' or moment >= expires + 0", "true"),
    ("redis.call('PERSIST', KEYS[1])", ""),
    ("redis.call('ZADD', KEYS[4], 'inf', ARGV[2])", ""),
    ("nonce ~= ARGV[5]", "ARGV[5] == ''"),
]


@pytest.mark.redis
@pytest.mark.parametrize(("right", "wrong"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_in_the_script_is_noticed(right, wrong, tmp_path, monkeypatch):
    """T4: the comparison has teeth: with any of these mistakes in the script, the same history fails."""

    def beat(policy):
        text = right_one(policy).text
        assert right in text
        text = text.replace(right, wrong)
        return scripts.Script("beat", text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    right_one = scripts.beat
    monkeypatch.setattr(scripts, "beat", beat)
    with pytest.raises((AssertionError, CorruptState, ValueError)):
        played(lambda: redis_store(tmp_path), history)
