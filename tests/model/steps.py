"""Every step that may come next in a world: what clients, workers, the sweeper, the endpoint and the clock can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caliper_readtime._rules import (
    MAX_REJECTIONS,
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
from caliper_readtime._rules.state import Phase
from tests.model.invariants import check_step, must
from tests.model.world import ARTICLE, EVENTS, READERS, START, ModelState, Scenario, Sent, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caliper_readtime._rules.state import Claim

Step = tuple[str, "Callable[[], ModelState]"]
SWEEPER = 2
_CALLERS = {"sweep": Caller.SWEEP, "heartbeat": Caller.HEARTBEAT}
#: What each stage after an emission does next.
_RELEASES = {
    "release": {"ambiguous": True},
    "blame": {"refused": True, "at_maximum": True},
    "give back": {"counted": False},
}


class Steps:
    """Generates the steps of one scenario, and notes the edges of the state machine that they took."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.edges: set[tuple[Phase, str, Phase]] = set()

    def of(self, world: ModelState) -> Iterator[Step]:
        """Yield each step: its name, and the function that returns the world after it."""
        yield from self._client(world)
        yield from self._host(world)
        yield from self._end(world)
        for place, worker in enumerate((*world.workers, world.sweeper)):
            if worker is not None:
                yield from self._worker(world, place, worker)
                if world.budget.crashes:
                    crashed = _placed(_spent(world, "crashes"), place, None)
                    yield f"{worker.kind} {worker.owner} crashes", lambda crashed=crashed: crashed
        place = _idle(world)
        if place is not None and world.state is not None:
            for kind in self.scenario.programs:
                rounds = self.scenario.rounds if kind == "finalize" else 1
                yield f"{kind} starts", self._taking(world, place, self._started(world, kind, rounds))
        if self.scenario.sweeps and world.sweeper is None and self._due(world):
            swept = world._replace(sweeper=self._started(world, "sweep", 1), tokens=world.tokens + 1)
            yield "sweep finds it due", lambda: swept
        yield from self._clock(world)

    # What nobody does

    def _clock(self, world: ModelState) -> Iterator[Step]:
        budget = world.budget
        if budget.ticks:
            for ms in self.scenario.ticks:
                later = _spent(world, "ticks")._replace(now=world.now + ms)
                yield f"{ms} ms pass", lambda later=later: later
        if budget.backs:
            earlier = _spent(world, "backs")._replace(now=world.now - self.scenario.back)
            yield "the clock steps back", lambda: earlier
        for place, sent in enumerate(world.sent):
            if sent.under_way:
                arrived = sent._replace(under_way=False, held=True)
                after = world._replace(sent=(*world.sent[:place], arrived, *world.sent[place + 1 :]))
                yield f"{sent.event_id} arrives late", lambda after=after: after

    def _end(self, world: ModelState) -> Iterator[Step]:
        budget = world.budget
        if budget.ends and world.state is not None:
            ended = _spent(world, "ends")._replace(state=None, index=None, lost=None)
            yield "forget", lambda: ended._replace(told=0, earlier_ms=0)
            expires = world.state.expires_at_ms
            if expires is not None:
                earlier_ms = world.earlier_ms + world.state.meter.cumulative_ms
                yield "expiry", lambda: ended._replace(now=max(world.now, expires), earlier_ms=earlier_ms)
        if budget.failovers and world.lost is not None:
            state, index = world.lost
            fallen = _spent(world, "failovers")._replace(state=state, index=index, lost=None)
            yield "the store fails over", lambda: fallen

    # Who asks for what

    def _client(self, world: ModelState) -> Iterator[Step]:
        if not world.budget.signals:
            return
        for number, item in enumerate(self.scenario.menu):
            told = world.told >> number & 1
            if self.scenario.orderly and (told or (item.after is not None and not world.told >> item.after & 1)):
                continue
            yield f"signal {number}: {item}", lambda number=number: self._signal(world, number)

    def _signal(self, world: ModelState, number: int) -> ModelState:
        item, policy = self.scenario.menu[number], self.scenario.policy
        signal = Signal(
            policy,
            f"{world.births:032x}",
            item.total_ms,
            READERS[world.email],
            ARTICLE,
            f"h{number}",
            item.view,
            item.acknowledged_ms,
            None if item.opened_at_ms is None else START + item.opened_at_ms,
            defers=not self.scenario.sends,
        )
        born = world.state is None
        world, counted = self.apply(_spent(world, "signals"), signal)
        world = world._replace(told=world.told | 1 << number, births=world.births + born)
        place = _idle(world)
        if counted.completed and self.scenario.sends and place is not None:
            worker = self._started(world, "heartbeat", self.scenario.rounds)
            return _placed(world, place, worker)._replace(tokens=world.tokens + 1)
        return world

    def _host(self, world: ModelState) -> Iterator[Step]:
        budget = world.budget
        if budget.corrections:
            for email in range(self.scenario.emails):
                if email != world.email:
                    corrected = _spent(world, "corrections")._replace(email=email)
                    yield f"the host learns {READERS[email].email}", lambda corrected=corrected: corrected
        if budget.defers:
            for finalize in (False, True):
                verb = Defer(finalize, READERS[world.email])
                yield f"defer, finalize={finalize}", lambda verb=verb: self.apply(_spent(world, "defers"), verb)[0]
        if budget.unparks:
            yield "unpark", lambda: self.apply(_spent(world, "unparks"), Unpark())[0]

    def _due(self, world: ModelState) -> bool:
        index = world.index
        return index is not None and index.at_ms <= world.now - (self.scenario.idle_ms if index.soft else 0)

    # What a report does, step by step

    def _started(self, world: ModelState, kind: str, rounds: int) -> Worker:
        return Worker(kind, f"t{world.tokens}", "take", rounds)

    def _taking(self, world: ModelState, place: int, worker: Worker) -> Callable[[], ModelState]:
        return lambda: self._take(world._replace(tokens=world.tokens + 1), place, worker)

    def _take(self, world: ModelState, place: int, worker: Worker, *, replayed: bool = False) -> ModelState:
        explicit = worker.kind in ("partial", "finalize")
        verb = AcquireClaim(
            worker.owner,
            self.scenario.policy,
            EVENTS,
            _CALLERS.get(worker.kind, Caller.EXPLICIT),
            0.0,
            # A partial brings the reader, the others rely on the stored one.
            reader=READERS[world.email] if worker.kind == "partial" else None,
            finalize=worker.kind in ("finalize", "heartbeat"),
            min_ms=self.scenario.minimum_ms if worker.kind == "partial" else 0,
            idle_ms=0 if explicit else self.scenario.idle_ms,
            retries=worker.kind != "sweep" or worker.stage == "retry",
            tried=worker.tried,
        )
        before = world
        world, acquired = self.apply(world, verb)
        if replayed:
            return _placed(world, place, worker)
        if acquired.result is AcquireResult.RETRY_LAST:
            return _placed(world, place, worker._replace(stage="retry"))
        if acquired.result is not AcquireResult.CLAIMED:
            return _placed(world, place, None)
        state = before.state
        if world.budget.failovers and (state.ledger.claim is None or state.ledger.claim.owner is None):
            world = world._replace(lost=(state, before.index))
        waits = worker.kind == "sweep" and acquired.retry and worker.stage != "retry"
        return _placed(
            world,
            place,
            worker._replace(
                stage="retry" if waits else "emit",
                generation=world.state.ledger.generation,
                claim=acquired.claim,
                again=acquired.again,
                retry=acquired.retry,
            ),
        )

    def _worker(self, world: ModelState, place: int, worker: Worker) -> Iterator[Step]:
        name = f"{worker.kind} {worker.owner}"
        if worker.stage == "emit":
            yield from self._answers(world, place, worker, name)
            return
        yield f"{name}: {worker.stage}", lambda: self._done(world, place, worker)
        if world.budget.replays and worker.stage not in ("renew", "suspect"):
            again = _spent(world, "replays")
            yield f"{name}: {worker.stage}, to be replayed", lambda: self._done(again, place, worker, replayed=True)

    def _done(self, world: ModelState, place: int, worker: Worker, *, replayed: bool = False) -> ModelState:
        """Take the step that the worker stands before. A replayed one is taken, but the worker does not learn of it."""
        policy, stage, claim = self.scenario.policy, worker.stage, worker.claim
        if stage in ("take", "retry"):
            return self._take(world, place, worker, replayed=replayed)
        if stage == "commit":
            verb = Commit(worker.generation, claim.event_id, claim.start_ms, claim.end_ms)
            world, _ = self.apply(world, verb)
            rounds = worker.rounds - (not worker.again)
            follows = worker.kind != "sweep" and rounds > 0
            after = Worker(worker.kind, worker.owner, "take", rounds, tried=worker.tried) if follows else None
        elif stage in ("renew", "suspect"):
            world, renewed = self.apply(world, Renew(worker.owner, claim.event_id, policy.lock_ms))
            stage = "emit" if stage == "renew" else "refuse"
            after = None if renewed is None else worker._replace(stage=stage, claim=renewed)
        elif stage == "refuse":
            world, _ = self.apply(world, Park(worker.owner, claim.event_id, policy, 0.0, 422, "refused"))
            after = _goes_on(world, worker)
        else:
            world, _ = self.apply(
                world, Release(worker.owner, claim.event_id, policy, 0.0, "unavailable", **_RELEASES[stage])
            )
            after = _goes_on(world, worker)
        return _placed(world, place, worker if replayed else after)

    def _answers(self, world: ModelState, place: int, worker: Worker, name: str) -> Iterator[Step]:
        """What may come of an emission. A 409, or a second acceptance, is an acceptance of what is held already."""
        claim, budget = worker.claim, world.budget

        def answered(paid: ModelState, stage: str, **known: bool) -> Callable[[], ModelState]:
            return lambda: _placed(_sent(paid, worker.generation, claim, **known), place, worker._replace(stage=stage))

        yield f"{name}: accepted", answered(world, "commit", held=True)
        held = any(sent.event_id == claim.event_id and sent.held for sent in world.sent)
        if budget.faults:
            failed = _spent(world, "faults")
            yield f"{name}: not delivered", lambda: _placed(failed, place, worker._replace(stage="release"))
            if not held:
                yield f"{name}: accepted, the reply is lost", answered(failed, "release", held=True)
                if self.scenario.late:
                    yield f"{name}: under way, given up", answered(failed, "release", under_way=True)
        yield f"{name}: too late to send", lambda: _placed(world, place, worker._replace(stage="give back"))
        if budget.rejects:
            refused = _spent(world, "rejects")
            final = worker.kind != "sweep" or worker.retry or claim.rejections + 1 >= MAX_REJECTIONS
            if final:
                yield f"{name}: rejected", answered(refused, "refuse", refused=True)
                return
            # Alone it is to blame, unless other readers' events are refused as well; in an envelope, who knows.
            yield f"{name}: rejected", answered(refused, "suspect", refused=True)
            yield f"{name}: rejected like others", answered(refused, "blame", refused=True)
            yield f"{name}: its envelope is rejected", answered(refused, "renew", refused=True)

    def apply(self, world: ModelState, verb: Any) -> tuple[ModelState, Any]:
        """Apply a transition as a store does, due index included, and check it."""
        old, now = world.state, world.now
        before = Phase.ABSENT if old is None else old.phase
        new, result = verb(old, now)
        edge = (before, getattr(verb, "name", "signal"), Phase.ABSENT if new is None else new.phase)
        check_step(verb, old, new, result, now, edge)
        self.edges.add(edge)
        if new is old:
            return world, result
        index = world.index
        if old is None or new.ledger is not old.ledger or index is None:
            index = new.due
        return world._replace(state=new, index=index), result


def _sent(
    world: ModelState,
    generation: str,
    claim: Claim,
    *,
    held: bool = False,
    under_way: bool = False,
    refused: bool = False,
) -> ModelState:
    """Return the world in which this event has left a worker."""
    before = next((sent for sent in world.sent if sent.event_id == claim.event_id), None)
    if before is None:
        body = None if refused else claim.event
        sent = Sent(generation, claim.start_ms, claim.end_ms, claim.event_id, body, held, under_way)
    else:
        must(before.body in (None, claim.event), "the same id means the same bytes, a refusal apart")
        sent = before._replace(
            body=None if refused else before.body,
            held=before.held or held,
            under_way=(before.under_way or under_way) and not (before.held or held),
        )
    others = (other for other in world.sent if other.event_id != claim.event_id)
    return world._replace(sent=tuple(sorted((*others, sent))))


def _goes_on(world: ModelState, worker: Worker) -> Worker | None:
    """V4: an explicit call whose older event failed goes on, if that left the claim slot."""
    slot = None if world.state is None else world.state.ledger.claim
    if worker.kind == "sweep" or not worker.again or world.state is None or slot is not None:
        return None
    tried = worker.tried | {worker.claim.event_id}
    return Worker(worker.kind, worker.owner, "take", worker.rounds, tried=tried)


def _spent(world: ModelState, name: str) -> ModelState:
    budget = world.budget
    return world._replace(budget=budget._replace(**{name: getattr(budget, name) - 1}))


def _placed(world: ModelState, place: int, worker: Worker | None) -> ModelState:
    if place == SWEEPER:
        return world._replace(sweeper=worker)
    one, two = world.workers
    return world._replace(workers=(worker, two) if place == 0 else (one, worker))


def _idle(world: ModelState) -> int | None:
    """Return a worker that has nothing to do; which one makes no difference."""
    return next((place for place, worker in enumerate(world.workers) if worker is None), None)
