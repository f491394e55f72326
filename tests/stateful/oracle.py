"""What the protocol says of accepted time, written a second time, and the book that checks every durable write."""

from __future__ import annotations

from collections import Counter, OrderedDict

from caliper_readtime._policy import ReaderBudget
from caliper_readtime._rules import (
    AcquireClaim,
    AcquireResult,
    Commit,
    Defer,
    Park,
    ParkResult,
    Release,
    Renew,
    Signal,
)
from caliper_readtime._rules.ranges import LONGEST_LEASE_MS
from caliper_readtime._rules.state import MAX_PARKED, MAX_VIEWS, SECOND, Phase

DAY_MS = 86_400_000


class AcceptedTime:
    """One state's time: what was granted by the clock, what was spent of it, and nothing else."""

    def __init__(self, policy):
        self.policy = policy
        self.spent = self.clamped = self.granted = 0
        self.began = self.last = self.born = self.counts_from = None
        self.before = 0  # B7: what was granted for pages opened before the budget began
        self.views, self.beats = OrderedDict(), OrderedDict()

    def hear(self, signal, now):
        """Take note of a signal; return what is accepted of it."""
        policy, first = self.policy, self.last is None
        total = signal.offered_ms
        if signal.opened_at_ms is not None:
            total = min(total, max(now - signal.opened_at_ms, 0) + policy.leeway_ms)
        if signal.view_id is None:
            claimed = 0 if signal.heartbeat_id in self.beats else total
        else:
            # X6: a page whose opening is known has outlived its state: all of its total counts.
            unknown = 0 if first and signal.opened_at_ms is not None else signal.acknowledged_ms
            claimed = max(0, total - self.views.get(signal.view_id, unknown))
        if first:
            opened = now if signal.opened_at_ms is None else min(now, signal.opened_at_ms)
            if signal.opened_at_ms is not None and now - opened >= policy.state_ttl_ms:
                opened, claimed = now, 0
            self.began = opened
            self.granted = max(policy.heartbeat_ms, now - opened) + policy.leeway_ms
            self.born, self.counts_from = now, max(0, now - max(policy.heartbeat_ms, now - opened))
        elif claimed:
            self.granted += max(0, now - self.last) + self.older(signal)
        drawn = signal.heartbeat_id == signal.nonce
        if signal.view_id is None and signal.heartbeat_id not in self.beats and (first or claimed or not drawn):
            # S4: a known id is a duplicate whatever its delta, so an id that claimed nothing is known as well.
            remember(self.beats, signal.heartbeat_id, total)
        if not claimed and not first:
            return 0
        accepted = min(claimed, self.granted - self.spent)
        if policy.max_delta_ms is not None:
            accepted = min(accepted, policy.max_delta_ms)
        self.spent += accepted
        self.clamped += claimed - accepted
        self.granted = min(self.granted, self.spent + policy.catch_up_ms)
        self.last = now if first else max(self.last, now)
        if signal.view_id is not None:
            remember(self.views, signal.view_id, total)
        return accepted

    def take_off(self, ms):
        """U4: this was read beside another article; what the clock had granted for it is gone."""
        self.spent -= ms
        self.granted -= ms
        self.clamped += ms

    def older(self, signal):
        """B7: what a page that was opened before the budget began adds to it."""
        opened = signal.opened_at_ms
        if signal.view_id is None or opened is None or opened <= self.born - self.policy.state_ttl_ms:
            return 0
        self.began = min(self.began, opened)
        reach = min(self.policy.catch_up_ms, self.counts_from - opened)
        before, self.before = self.before, max(self.before, reach)
        return self.before - before

    @property
    def bound(self):
        """B8: the most that wall time allows, counted from the earliest opening, or from one heartbeat before birth."""
        began = min(self.counts_from, self.began)
        return min(self.last - began, self.last - self.counts_from + self.policy.catch_up_ms) + self.policy.leeway_ms


def remember(ring, name, total):
    """Put a name at the end of a ring of bounded size."""
    ring[name] = total
    ring.move_to_end(name)
    if len(ring) > MAX_VIEWS:
        ring.popitem(last=False)


def faults_in(state):
    """Say which promises a single state breaks."""
    ledger, meter = state.ledger, state.meter
    parked = sum(entry.end_ms - entry.start_ms for entry in ledger.parked)
    claim = ledger.claim
    listed = claim is not None and any(entry.event_id == claim.event_id for entry in ledger.parked)
    claimed = 0 if claim is None or listed else claim.end_ms - claim.start_ms
    whole = state.unclaimed_ms >= SECOND
    checks = {
        "cumulative = reported + parked + claimed + rest": meter.cumulative_ms
        == state.reported_ms + parked + claimed + state.unclaimed_ms,
        "nothing is negative": min(state.reported_ms, state.unclaimed_ms, meter.budget_ms, meter.clamped_ms) >= 0,
        "only whole seconds leave": state.reported_ms % SECOND == 0 and claimed % SECOND == 0,
        "what is unreported is due": state.due is not None
        or not (claim or ledger.parked or (whole and len(ledger.parked) < MAX_PARKED)),
        "what is unreported never expires": state.expires_at_ms is None or not (claim or ledger.parked or whole),
        "finalized only when nothing whole was left": not (ledger.finalize_wanted and state.phase is Phase.SETTLED),
        "the parked list is bounded": len(ledger.parked) <= MAX_PARKED,
    }
    return [name for name, holds in checks.items() if not holds]


class Life:
    """One state from birth to its end."""

    def __init__(self, policy):
        self.time = AcceptedTime(policy)
        self.forgotten = False
        self.ranges = {}  # event id -> (from, to)


class Book:
    """Sees every applied write and every arrival; keeps what is wrong in ``faults`` and what happened in ``seen``."""

    def __init__(self, policy):
        self.policy = policy
        self.faults = []
        self.seen = Counter()
        self.states = {}  # key -> the state that the last write left
        self.lives = {}  # (key, generation) -> Life
        self.owner_of = {}  # event id -> (key, generation)
        self.built = {}  # event id -> the context that its newest bytes were built from
        self.leases = {}  # (worker, event id) -> monotonic time at which its lease began
        self.told = {}  # event id -> times that a host was told of its acceptance
        self.arrived = {}  # event id -> its bytes
        self.refused = set()  # ids that the endpoint has refused
        self.copies = Counter()  # event id -> times that it arrived
        self.doubts = Counter()  # event id -> tries after which nobody knew, or whose owner was taken for dead

    def expect(self, holds, fault):
        if not holds:
            self.faults.append(fault)

    # The store's side

    def wrote(self, key, transition, now, result, state, worker, monotonic):
        """Note a write that was applied, whether or not its caller ever hears of it."""
        old = self.states.get(key)
        if state is None:
            self.states.pop(key, None)
            return
        life = self._life(key, old, state)
        if isinstance(transition, Signal):
            accepted = life.time.hear(transition, now)
            self.expect(accepted == result.accepted_ms, f"{key}: accepted {result.accepted_ms}, not {accepted}")
            self.seen["duplicate signals"] += result.duplicate
            self.seen["clamped signals"] += result.clamped_ms > 0
        if isinstance(transition, AcquireClaim) and result.beside_ms:
            self.seen["read beside"] += 1
            if transition.policy.reader_budget is ReaderBudget.ENFORCE:
                life.time.take_off(result.beside_ms)
        self.states[key] = state
        time = life.time
        meter = (state.meter.cumulative_ms, state.meter.clamped_ms, state.meter.last_sync_at_ms)
        model = (time.spent, time.clamped, time.last)
        self.expect(meter == model, f"{key}: meter {meter}, model {model} after {transition!r}")
        self.expect(time.spent <= time.bound, f"{key}: {time.spent} ms accepted, wall time allows {time.bound}")
        for fault in faults_in(state):
            self.expect(False, f"{key}: broken: {fault}")
        if isinstance(transition, Park) and result is ParkResult.PARKED:
            # P1: set aside with the context it was built from, so that a correction meanwhile heals it.
            built, parked = self.built[transition.event_id], state.ledger.parked[-1]
            self.expect(parked.context == built, f"{key}: {transition.event_id} is parked with another context")
        self._leases(key, transition, now, old, state)
        self._claims(key, transition, result, old, state, worker, monotonic)
        self._outcomes(transition, result, old, state)

    def _life(self, key, old, state):
        name = (key, state.ledger.generation)
        if name not in self.lives:
            if old is not None:
                # Not forgotten, so it expired. X1: only with less than a whole second unreported.
                self.expect(old.expires_at_ms is not None, f"{key}: unreported time expired")
            self.seen["rebirths"] += any(other == key and not life.forgotten for (other, _), life in self.lives.items())
            self.lives[name] = Life(self.policy)
        return self.lives[name]

    def _leases(self, key, transition, now, old, state):
        """L1, P1: while a lease lives, only its owner may end it; a commit apart, which anybody may bring (K2)."""
        held, after = None if old is None else old.ledger.claim, state.ledger.claim
        if held is None or held.owner is None or isinstance(transition, Commit):
            return
        if not now < held.until_at_ms <= now + LONGEST_LEASE_MS:  # D5: a clock that jumped leaves no lease
            return
        if old.ledger.generation == state.ledger.generation and (after is None or after.owner != held.owner):
            self.expect(transition.owner == held.owner, f"{key}: {transition!r} ended another owner's lease")

    def _claims(self, key, transition, result, old, state, worker, monotonic):
        claim = None
        if isinstance(transition, AcquireClaim) and result.result is AcquireResult.CLAIMED:
            claim = result.claim
        elif isinstance(transition, Renew):
            claim = result
        if claim is None:
            return
        self.leases[worker, claim.event_id] = monotonic
        self.built[claim.event_id] = claim.context
        name = (key, state.ledger.generation)
        ranges = self.lives[name].ranges
        known = ranges.setdefault(claim.event_id, (claim.start_ms, claim.end_ms))
        self.expect(known == (claim.start_ms, claim.end_ms), f"{key}: one id, two ranges")
        self.expect(self.owner_of.setdefault(claim.event_id, name) == name, "one id, two states")
        self.expect(
            0 < claim.end_ms - claim.start_ms <= DAY_MS, f"{key}: a claim of {claim.end_ms - claim.start_ms} ms"
        )
        overlapping = [
            event_id
            for event_id, (start, end) in ranges.items()
            if event_id != claim.event_id and start < claim.end_ms and claim.start_ms < end
        ]
        self.expect(not overlapping, f"{key}: {claim.event_id} overlaps {overlapping}")
        if isinstance(transition, AcquireClaim):
            listed = any(entry.event_id == claim.event_id for entry in state.ledger.parked)
            self.expect(result.retry == listed, f"{key}: {claim.event_id} is a retry of a parked event, or is not")
            before = None if old is None else old.ledger.claim
            held = before is not None and before.event_id == claim.event_id and before.owner
            taken_over = bool(held) and before.owner != claim.owner
            self.seen["take-overs"] += taken_over
            self.doubts[claim.event_id] += taken_over
            self.seen["claims again"] += result.again
            self.seen["splits"] += claim.end_ms - claim.start_ms == DAY_MS and state.unclaimed_ms >= SECOND

    def _outcomes(self, transition, result, old, state):
        seen = self.seen
        match transition:
            case AcquireClaim():
                seen[f"take: {result.result}"] += 1
            case Park():
                seen[f"park: {result}"] += 1
                seen["parkings"] += result is ParkResult.PARKED
            case Release():
                seen["releases"] += result
                aside = result and state.ledger.claim is None and len(state.ledger.parked) > len(old.ledger.parked)
                seen["made way"] += aside
                seen["systemic refusals"] += result and transition.refused
                seen["late, nothing sent"] += result and not transition.counted and "lease" in transition.error
            case Commit():
                seen[f"commit: {result}"] += 1
                if old is not None and len(old.ledger.parked) > len(state.ledger.parked):
                    seen["healed parkings"] += 1
            case Defer():
                seen["deferred"] += result
        stamped = state.ledger.finalized_at_ms is not None
        seen["finalized"] += stamped and (old is None or old.ledger.finalized_at_ms is None)

    def forgot(self, reader):
        """Note that everything of a reader was erased."""
        for key in [key for key in self.states if key.reader_sourced_id == reader]:
            del self.states[key]
            self.seen["forgotten"] += 1
        for (key, _), life in self.lives.items():
            life.forgotten |= key.reader_sourced_id == reader

    # The endpoint's side

    def sends(self, event_ids, worker, monotonic, deadline):
        """Note that an emission begins."""
        for event_id in event_ids:
            # C6: a claim is returned only once it is durable.
            self.expect(event_id in self.owner_of, f"{event_id} is sent without a claim")
            lease = self.leases.get((worker, event_id))
            # C10: no emission starts unless it can end within the lease.
            self.expect(
                lease is not None and monotonic - lease + deadline < self.policy.lock_seconds,
                f"{event_id} is sent by somebody whose lease began at {lease}, at {monotonic}",
            )

    def came(self, event, body):
        """Note that the endpoint accepted an event."""
        event_id = event["id"]
        first = self.arrived.setdefault(event_id, body)
        self.copies[event_id] += 1
        self.seen["duplicates at the endpoint"] += first is not body
        if event_id not in self.refused:
            # I7: same id, same bytes; they differ only after a refusal.
            self.expect(first == body, f"{event_id} came twice with different bytes")
        key, generation = self.owner_of[event_id]
        start, end = self.lives[key, generation].ranges[event_id]
        named = (event["actor"]["id"].rpartition("/")[2], event["object"]["activity"]["id"].rpartition("/")[2])
        self.expect(named == key, f"{event_id} of {key} names {named}")
        self.expect(event["generated"]["items"][0]["value"] * SECOND == end - start, f"{event_id} has another value")

    def heard(self, report):
        """Note what a host is told. K3: on_report never counts twice."""
        if report.delta_seconds:
            for event_id in report.event_ids:
                self.told[event_id] = self.told.get(event_id, 0) + 1
                self.expect(self.told[event_id] == 1, f"{event_id} was counted twice")

    # When all is quiet

    def audit(self, load):
        """Check the ends: what the endpoint has is what was accepted, to the second, for every life."""
        for (key, generation), life in self.lives.items():
            whole = life.time.spent // SECOND * SECOND
            at_endpoint = sum(end - start for event_id, (start, end) in life.ranges.items() if event_id in self.arrived)
            name = f"{key} {generation[:8]}"
            self.expect(
                at_endpoint <= whole if life.forgotten else at_endpoint == whole,
                f"{name}: the endpoint has {at_endpoint} ms, accepted were {life.time.spent}",
            )
        if self.policy.reader_budget is ReaderBudget.ENFORCE:
            self._one_clock()
        for event_id, copies in self.copies.items():
            # H8: a further copy takes a try that ended in doubt.
            self.expect(
                copies <= 1 + self.doubts[event_id], f"{event_id}: {copies} copies, {self.doubts[event_id]} doubts"
            )
        self._settled(load)

    def _one_clock(self):
        """U9: of a reader of whom nothing was forgotten or has expired, all articles together fit into wall time."""
        readers = {}
        for (key, _), life in self.lives.items():
            readers.setdefault(key.reader_sourced_id, []).append((key, life))
        for reader, lives in readers.items():
            if any(life.forgotten for _, life in lives) or len({key for key, _ in lives}) < len(lives):
                continue
            times = [life.time for _, life in lives]
            wall = max(time.last for time in times) - min(min(time.counts_from, time.began) for time in times)
            if wall >= self.policy.state_ttl_ms:  # U7: the record may have expired meanwhile
                continue
            spent = sum(time.spent for time in times)
            self.seen["one clock"] += len(lives) > 1
            # A rest below a second was not claimed, and so not looked at.
            most = wall + self.policy.leeway_ms + len(lives) * SECOND
            self.expect(spent <= most, f"{reader}: {spent} ms on {len(lives)} articles, of {most} ms of wall time")

    def _settled(self, load):
        for key, last in self.states.items():
            state = load(key)
            if state is None:
                continue  # it has expired, and its life was checked above
            self.expect(state == last, f"{key}: the store holds another state than the last write left")
            whole = state.meter.cumulative_ms // SECOND * SECOND
            self.expect(state.reported_ms == whole, f"{key}: {state.reported_ms} of {whole} ms are reported")
            self.expect(state.due is None and state.phase is Phase.SETTLED, f"{key}: {state.phase}, still due")
            self.expect(not state.ledger.finalize_wanted, f"{key}: not finalized though wanted")
            self.expect(state.last_error is None, f"{key}: all is reported, and still {state.last_error}")
