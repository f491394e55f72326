"""One-seed simulation: readers, workers, endpoint and clock in one process, interleaved at every effect boundary."""

from __future__ import annotations

import threading
from datetime import timedelta
from random import Random

from caliper_readtime import (
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    MissingField,
    PageView,
    Reader,
    ReadTimePolicy,
    StoreUnavailable,
)
from caliper_readtime._policy import ReaderBudget
from caliper_readtime._rules.state import Phase
from tests.scenes import WAIT_SECONDS, article
from tests.stateful.world import Crash, SimulatedSystem, failure, seeded

READERS = ("anna", "ben", "cleo", "dora")
ARTICLES = ("owls", "bees", "ants")
EXPECTED = (StoreUnavailable, EmitError, MissingField, Crash)


#: What one reader's, one article's or one event's bytes hold, what they always get, and whether they are kept.
POISONS = tuple(
    (text, error, keeps)
    for text in ("/users/anna", '"Owls"', '"value": 40')
    for error, keeps in (
        (lambda: EndpointRefused("404", status=404), False),
        (lambda: EmitterUnavailable("500", status=500), False),
        (lambda: EmitterUnavailable("500", status=500), True),
        (lambda: EmitterUnavailable("no answer"), True),
    )
)


class Task:
    """One call of one worker, in a thread that runs only while it has the baton."""

    def __init__(self, worker, act):
        self.worker = worker
        self.error = None
        self.done = self.killed = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(act,), daemon=True)
        self._thread.start()

    def _run(self, act):
        self._go.acquire()
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - handed to the scheduler
            self.error = error
        self.done = True
        self._stopped.release()

    def resume(self):
        """Let it run until it pauses or ends."""
        self._go.release()
        assert self._stopped.acquire(timeout=WAIT_SECONDS), "a task hangs"
        if self.done:
            self._thread.join()

    def pause(self):
        """Give the baton back; called by the task itself."""
        self._stopped.release()
        self._go.acquire()
        if self.killed:
            raise Crash


class Tab:
    """One page view: an honest one reads at most in real time, another claims whatever it likes."""

    def __init__(self, number, reader, what, now, *, honest, signed):
        self.id = f"view-{number}"
        self.reader, self.what = reader, what
        self.opened = self.last = now
        self.honest, self.signed = honest, signed
        self.total = self.known = 0.0


class Simulation:
    """A run of many steps, all decided by one seed."""

    def __init__(self, seed, store, *, steps=150):
        self.random = random = Random(seed)
        self.seed, self.steps = seed, steps
        policy = ReadTimePolicy(
            catch_up_seconds=random.choice([30.0, 300.0, 300_000.0]),
            max_delta_seconds=random.choice([None, None, 60.0]),
            completion=random.choice(["send", "defer"]),
            completion_dwell_seconds=random.choice([None, 90.0]),
            partial_min_seconds=random.choice([0.0, 20.0]),
            state_ttl_seconds=random.choice([30, 1]) * 86400.0,
            reader_budget=Random(f"reader budget {seed}").choice(list(ReaderBudget)),
        )
        self.world = SimulatedSystem(
            store,
            policy,
            max_batch=random.choice([1, 3, 100]),
            read_back=random.random() < 0.5,
            emit_seconds=random.choice([0.0, 0.0, 3.0]),
            at=self._boundary,
        )
        self.world.endpoint.poison = random.choice([None, None, *POISONS])
        self.book = self.world.book
        self.fault_rate = random.choice([0.0, 0.02, 0.06])
        self.pause_rate = random.choice([0.02, 0.15, 0.4])
        self.roster = {name: Reader(name, f"{name}@example.org") for name in READERS}
        self.articles = {name: article(name) for name in ARTICLES}
        self.workers = [self._worker() for _ in range(3)]
        self.tasks = []
        self.running = None
        self.tabs = []
        self.late = []  # signals that are still on their way
        self.faults_on = True
        self.actions = [
            (self._beat, 30), (self._delta, 8), (self._deliver_late, 8), (self._partial, 10), (self._finalize, 6),
            (self._sweep, 10), (self._flush, 4), (self._unpark, 2), (self._address, 3), (self._forget, 0.8),
            (self._look, 2), (self._mode, 4), (self._time, 12),
        ]  # fmt: skip

    def _worker(self):
        first = self.random.choice([5.0, 1.0, 60.0])
        return self.world.tracker(
            retry_backoff_seconds=first, max_retry_backoff_seconds=self.random.choice([first, 3600.0])
        )

    # Scheduling

    def run(self):
        """Run, stop the faults, drain and audit. Returns what the run left; raises what is wrong."""
        with seeded(self.seed, self._sleep):
            for _ in range(self.steps):
                self._step()
            self.faults_on = False
            self.world.endpoint.mode, self.world.endpoint.poison = "ok", None
            while self.tasks:
                self._resume(self.tasks[0])
            self._heal()
            self.world.drain()
            self.world.probe()
            self.book.audit(self.world.load)
            self._complain()
            return self.world.ending()

    def _step(self):
        if self.tasks and (len(self.tasks) > 3 or self.random.random() < 0.5):
            self._resume(self.random.choice(self.tasks))
        else:
            actions, weights = zip(*self.actions, strict=True)
            self.random.choices(actions, weights)[0]()

    def _start(self, act, errors=EXPECTED):
        """Start a call of any worker; the scheduler gives it the baton at once."""
        number = self.random.randrange(len(self.workers))
        worker = self.workers[number]
        task = Task((number, worker), lambda: act(worker))
        self.tasks.append(task)
        self._resume(task)

    def _resume(self, task):
        self.running, self.world.worker = task, task
        task.resume()
        self.running = self.world.worker = None
        if task.done:
            self.tasks.remove(task)
            number, worker = task.worker
            if isinstance(task.error, Crash):
                self.book.seen["crashes"] += 1
                # The process is gone with every call that it had under way.
                for other in self.tasks:
                    other.killed |= other.worker[1] is worker
                self.workers[number] = self._worker()
            elif task.error is not None and not isinstance(task.error, EXPECTED):
                raise task.error
        self._complain()

    def _complain(self):
        assert not self.book.faults, f"seed {self.seed}: {self.book.faults}"

    def _boundary(self, name):
        if self.running is None or not self.faults_on:
            return
        chance = self.random.random()
        if chance < self.fault_rate:
            self.book.seen["faults"] += 1
            raise Crash(name) if self.random.random() < 0.3 else failure(name)
        if chance < self.fault_rate + self.pause_rate:
            self.running.pause()

    def _sleep(self, seconds):
        self.world.advance(seconds)
        if self.running is not None and self.faults_on:
            self.running.pause()

    # What readers do

    def _reader(self, name):
        return self.roster[name] if self.random.random() < 0.7 else name

    def _article(self, name):
        return self.articles[name] if self.random.random() < 0.7 else name

    def _anything(self):
        known = [key for key, state in self.book.states.items() if state.phase is not Phase.SETTLED]
        if known and self.random.random() < 0.7:
            reader, what = self.random.choice(known)
            return self._reader(reader), self._article(what)
        return self._reader(self.random.choice(READERS)), self._article(self.random.choice(ARTICLES))

    def _beat(self):
        random, now = self.random, self.world.clock()
        if not self.tabs or random.random() < 0.15:
            number = self.book.seen["tabs"] = self.book.seen["tabs"] + 1
            names = random.choice(READERS), random.choice(ARTICLES)
            tab = Tab(number, *names, now, honest=random.random() < 0.7, signed=random.random() < 0.5)
            self.tabs = [*self.tabs[-5:], tab]
        tab = random.choice(self.tabs)
        elapsed = max(0.0, (now - tab.last).total_seconds())
        tab.total += elapsed * random.choice([1, 1, 1, 0.5]) if tab.honest else random.choice([5.0, 40.0, 7200.0])
        tab.last = now
        view = PageView(tab.id, tab.total, min(tab.known, tab.total))
        more = {"opened_at": tab.opened - timedelta(seconds=random.choice([0, 3]))} if tab.signed else {}
        if random.random() < 0.1:
            more |= {"position_seconds": random.choice([10.0, 99.0]), "duration_seconds": random.choice([100.0, 140.0])}
        reader, what = self._reader(tab.reader), self._article(tab.what)

        def act(tracker):
            tracker.observe(reader, what, view, **more)
            tab.known = max(tab.known, view.active_seconds)

        self._mail(act)

    def _delta(self):
        reader, what = self._anything()
        seconds, name = self.random.choice([0.0, 0.4, 5.25, 9.0]), f"beat-{self.random.getrandbits(32)}"
        self._mail(lambda tracker: tracker.accumulate(reader, what, seconds, heartbeat_id=name))

    def _mail(self, act):
        """Lose a signal, delay it, deliver it, or deliver it now and again later."""
        fate = self.random.random()
        if fate < 0.1:
            self.book.seen["signals lost"] += 1
            return
        if fate < 0.3:
            self.late.append(act)
        if fate > 0.2:
            self._start(act)

    def _deliver_late(self):
        if self.late:
            self._start(self.late.pop(self.random.randrange(len(self.late))))

    # What hosts do

    def _partial(self):
        self._report("partial")

    def _finalize(self):
        self._report("finalize")

    def _report(self, verb):
        names, defer = self._anything(), self.random.random() < 0.25

        def act(tracker):
            report = getattr(tracker, verb)(*names, defer=defer)
            self.book.seen[f"{verb}: {report.outcome}"] += 1

        self._start(act)

    def _sweep(self):
        options = {
            "idle_seconds": self.random.choice([0, 0, 60]),
            "limit": self.random.choice([1, 2, 5, 1000]),
            "budget_seconds": self.random.choice([None, None, 0, 20]),
        }

        def act(tracker):
            report = tracker.sweep(**options)
            self.book.seen[f"sweep: {report.stopped_by}"] += 1
            self.book.expect(report.events_sent <= options["limit"], "a sweep sent more than its limit")

        self._start(act)

    def _flush(self):
        reader, confirm = self.random.choice(READERS), self.random.random() < 0.3
        some = self.random.choice([None, None, ["owls", "ants"]])
        wait = self.random.choice([0.0, 0.2, 40.0])

        def act(tracker):
            before = {key: state for key, state in self.book.states.items() if key.reader_sourced_id == reader}
            report = tracker.flush_reader(reader, resource_ids=some, wait_seconds=wait, confirm=confirm)
            self.book.seen["flush: settled" if report.settled else "flush: unsettled"] += 1
            for key, state in before.items() if report.settled else ():
                now = self.book.states.get(key)
                if (
                    (some is None or key.resource_id in some)
                    and now
                    and now.ledger.generation == state.ledger.generation
                ):
                    enforced = self.book.policy.reader_budget is ReaderBudget.ENFORCE
                    taken_off = now.ledger.beside_ms - state.ledger.beside_ms if enforced else 0
                    whole = (state.meter.cumulative_ms - taken_off) // 1000 * 1000
                    # F6: whatever had been accepted when it began, but for what was taken off since (U4).
                    self.book.expect(now.reported_ms >= whole, f"{key}: settled at {now.reported_ms} of {whole} ms")

        self._start(act)

    def _unpark(self):
        names = self._anything()
        self._start(lambda tracker: tracker.unpark(*names))

    def _address(self):
        """Somebody corrects a reader's address, or gets it wrong."""
        name = self.random.choice(READERS)
        word = self.random.choice(["bad", "good", name])
        self.roster[name] = Reader(name, f"{word}-{self.random.randrange(3)}@example.org")

    def _forget(self):
        busy = [key.reader_sourced_id for key, state in self.book.states.items() if state.in_flight]
        name = self.random.choice(busy or READERS)
        self._start(lambda tracker: tracker.forget(name))

    def _look(self):
        reader, what = self._anything()
        self._start(lambda tracker: self._looked(tracker, reader, what))

    @staticmethod
    def _looked(tracker, reader, what):
        found = tracker.state(reader, what), tracker.states(reader), tracker.parked(limit=5)
        return *found, tracker.status(), tracker.explain(reader, what)

    # What the rest of the world does

    def _mode(self):
        self.world.endpoint.mode = self.random.choice(["ok", "ok", "ok", "down", "forbidden", "broken"])

    def _time(self):
        seconds = self.random.choices([2.5, 10.125, 31.0, 400.0, 4000.0, 90_000.0, -4.0], [30, 40, 25, 6, 3, 1, 3])[0]
        if seconds < 0:
            self.world.clock.advance(seconds)  # the wall clock alone steps back
            self.book.seen["clock stepped back"] += 1
        elif self.random.random() < 0.02:
            days = self.random.choice([5, -5]) * 86_400.0
            self.world.clock.advance(days)  # or jumps
            self.book.seen["clock jumped"] += 1
        else:
            self.world.advance(seconds)

    # The end

    def _heal(self):
        """Correct every address and report with it, or let the endpoint come to know the wrong ones."""
        if self.random.random() < 0.5:
            self.world.endpoint.lenient = True
            return
        for name in READERS:
            self.roster[name] = Reader(name, f"{name}@healed.example.org")
        tracker = self.world.tracker()
        for key in tuple(self.book.states):
            try:
                tracker.partial(self.roster[key.reader_sourced_id], self.articles[key.resource_id])
            except EventRejected:
                # An older claim holds the wrong address still; once it is parked, the corrected context claims it.
                self.book.seen["refused at the end"] += 1
