"""``Operations``: what jobs and operators ask of a tracker: sweep, reconcile, look, mend and forget."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

import attrs

from caliper_readtime import _checks, _notebook
from caliper_readtime._accounts import SETTLE_SECONDS
from caliper_readtime._delivery.given import send_given
from caliper_readtime._delivery.reconcile import Reconciling
from caliper_readtime._delivery.send import SWEEP
from caliper_readtime._delivery.sweep import IDLE_SECONDS, LIMIT, Sweep
from caliper_readtime._inspection import explained, status_of
from caliper_readtime._logs import StoreAway, log_unreadable
from caliper_readtime._model import Activity, ParkedEvent, Reader
from caliper_readtime._records import LISTED, PARKED, Rows
from caliper_readtime._rules import Caller, Unpark
from caliper_readtime._rules.identity import identified, reduced
from caliper_readtime._rules.state import Key
from caliper_readtime._units import to_epoch_ms, to_ms
from caliper_readtime.errors import CorruptState, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from caliper_readtime._delivery.report import Reporting
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._results import Explanation, Reconciliation, Report, Status, SweepReport
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.protocols import Emitter, StateStore


class Operations:
    """The half of a ``ReadTimeTracker`` that requests do not call; the other half makes what it works with."""

    _store: StateStore
    _delivery: Delivery
    _reporting: Reporting
    _policy: ReadTimePolicy
    _away: StoreAway
    _clock: Callable[[], datetime]
    _compare: Callable[[], None]
    _oneroster_url: str | None
    _facts: dict[str, str]

    def sweep(
        self, *, idle_seconds: float = IDLE_SECONDS, limit: int = LIMIT, budget_seconds: float | None = None
    ) -> SweepReport:
        """Report what browsers and workers left behind. Safe on many hosts at once; they share the work.

        Args:
            idle_seconds: leave readers alone who were active within this time.
            limit: most events to send.
            budget_seconds: start no further envelope after this time.

        Raises:
            ConfigurationError: the tracker has no emitter.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached; everything stays due.
        """
        return self.sweep_while(None, idle_seconds=idle_seconds, limit=limit, budget_seconds=budget_seconds)

    def sweep_while(
        self,
        go_on: Callable[[Sequence[Report]], bool] | None,
        *,
        idle_seconds: float = IDLE_SECONDS,
        limit: int = LIMIT,
        budget_seconds: float | None = None,
    ) -> SweepReport:
        """Do what ``sweep`` does for as long as the caller wants; see there.

        Args:
            go_on: asked before each envelope, with what this sweep has done so far; no further one starts once it
                answers False.
            idle_seconds: as for ``sweep``.
            limit: as for ``sweep``.
            budget_seconds: as for ``sweep``.
        """
        idle_ms = to_ms(idle_seconds, "idle_seconds")
        _checks.count(limit, "limit")
        budget = None if budget_seconds is None else to_ms(budget_seconds, "budget_seconds") / 1000
        self._delivery.require()
        sweep = Sweep(self._delivery, uuid4().hex, idle_ms=idle_ms, limit=limit, budget_seconds=budget, go_on=go_on)
        with self._away.with_context(SWEEP):
            self._compare()
            return sweep.run()

    def send_deferred(self, keys: Iterable[tuple[str, str]]) -> SweepReport:
        """Report what these states have put off, at once and in as few envelopes as possible.

        What cannot be sent now (another owner is at it, a back-off runs) stays due, and is the sweeper's.

        Args:
            keys: (reader sourced id, resource id) of each, as reports name them.

        Raises:
            ConfigurationError: the tracker has no emitter.
            StoreError: the store could not be reached; everything stays due.
        """
        self._compare()
        self._delivery.require()
        return send_given(self._delivery, uuid4().hex, [Key(*key) for key in keys])

    def reconcile(
        self,
        reader: Reader | str,
        *,
        since: datetime | None = None,
        repair: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> Reconciliation:
        """Compare what the endpoint holds of a reader with what it has accepted, event by event.

        Args:
            reader: whose time.
            since: leave out events whose time ended before; aware. A missing one that is older than the last 32 is told
                unless it was accepted before.
            repair: send missing events again, under the same id and byte for byte; each only once it has been missing
                for ``settle_seconds``, was never shown before, and is not shown when asked for by its id.
            settle_seconds: how long the endpoint may take to show what it has accepted.

        Returns:
            For each article which events match, are missing, deleted, doubled, altered or foreign. What is doubled can
            only be reported: the endpoint's operator has to delete it.

        Raises:
            ConfigurationError: the tracker has no emitter, or one that cannot list events.
            EmitError: the endpoint could not be asked, or certainly not be sent to; what was repaired stays repaired.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached.
        """
        sourced_id = self._reader_key(reader)
        settle_ms = to_ms(settle_seconds, "settle_seconds")
        since_ms = None if since is None else to_epoch_ms(since, "since")
        self._compare()
        return Reconciling(self._delivery, sourced_id, since_ms=since_ms, settle_ms=settle_ms).run(repair=repair)

    # A look inside

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store!r}, {self.emitter!r})"

    def _repr_html_(self) -> str:
        parts = _notebook.fields("Tracker", self, "store", "emitter", "policy.completion")
        try:
            return parts + self.status()._repr_html_()
        except StoreError as error:
            return parts + _notebook.lines("Status", [f"{type(error).__name__}: {error}"])

    @property
    def policy(self) -> ReadTimePolicy:
        """The rules."""
        return self._policy

    def now(self) -> datetime:
        """Return the time that decides, for ``opened_at``: the tracker's clock, or the store's own.

        The store is asked at most once a minute; when it does not answer, its last word is carried on.
        """
        return self._clock()

    @property
    def store(self) -> StateStore:
        """Where states live."""
        return self._store

    @property
    def emitter(self) -> Emitter | None:
        """What delivers events, if anything does."""
        return self._delivery.emitter

    @property
    def events(self) -> TimeSpentEvents | None:
        """What builds events."""
        return self._delivery.leases.events

    def state(self, reader: Reader | str, article: Activity | str) -> ReadTimeState | None:
        """Return the state, or None where there is none."""
        key, _, _ = identified(self._oneroster_url, self._recorded, reader, article)
        return self._seen(key)

    def states(self, reader: Reader | str) -> Rows[ReadTimeState]:
        """Return every state of a reader; one that cannot be read is logged and left out."""
        keys = self._store.keys(self._reader_key(reader), self._delivery.leases.now())
        found = (state for state in map(self._readable, keys) if state is not None)
        return Rows(found, "Read time", LISTED)

    def parked(self, *, limit: int = 100) -> Rows[ParkedEvent]:
        """Return refused events, at most ``limit``."""
        _checks.count(limit, "limit")
        now = self._delivery.leases.moment()
        found = (event for state in self._store.parked(limit) for event in state.parked_events(now))
        return Rows(islice(found, limit), "Parked events", ("reader_sourced_id", "resource_id", *PARKED))

    def status(self) -> Status:
        """Return how much time waits in the store, how old it is, and when a sweep last ran.

        Looks at every state with unreported time: a second or so for a hundred thousand of them. One that cannot be
        read is logged and left out.

        Raises:
            StoreError: the store could not be reached.
        """
        waiting = self._store.unreported(self._delivery.leases.now())
        return status_of(
            waiting, now=self._delivery.leases.moment(), last_sweep=self._store.last_sweep(), policy=self._policy
        )

    def explain(self, reader: Reader | str, article: Activity | str) -> Explanation:
        """Explain in plain sentences why this reader gets these minutes on this article.

        What was accepted, clamped, sent and refused, what waits and until when, and what would be banked. For an
        article of which nothing is stored: what is known of the reader.

        Args:
            reader: a ``Reader``, or an id; nothing is stored of what is passed.
            article: an ``Article``, or an id.

        Raises:
            CorruptState: the stored state cannot be read.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached.
        """
        key, _, _ = identified(self._oneroster_url, self._recorded, reader, article)
        state = self._seen(key)
        known = self._store.keys(key.reader_sourced_id, self._delivery.leases.now())
        return explained(
            key,
            state,
            tuple(sorted(each.resource_id for each in known)),
            now=self._delivery.leases.moment() if state is None else state.seen_at_ms,
            policy=self._policy,
            events=self._delivery.leases.events,
            last_sweep=self._store.last_sweep(),
            beside_ms=0 if state is None else self._beside(known),
        )

    def unpark(self, reader: Reader | str, article: Activity | str) -> Report:
        """Let a state's parked events be sent now, and send what can be sent, as ``partial`` does.

        Raises:
            EventRejected: the endpoint refuses it still.
            EmitterUnavailable: not delivered; it stays due.
            StoreError: the store could not be reached.
        """
        key, known_reader, known_article = identified(self._oneroster_url, self._recorded, reader, article)
        self._delivery.require()
        with self._away.with_context("article unpark", **key._asdict()):
            self._compare()
            self._delivery.leases.update(key, Unpark())
            return self._reporting.report(key, Caller.EXPLICIT, known_reader, known_article, finalize=False)

    def forget(self, reader: Reader | str) -> int:
        """Erase everything that is stored of a reader; return how many states. Unreported time goes too.

        End the reader's sessions first: a page that is still open would count anew.
        """
        sourced_id = self._reader_key(reader)
        with self._away.with_context("article forget", reader_sourced_id=sourced_id):
            self._compare()
            forgotten = self._store.delete(sourced_id)
            while self._store.keys(sourced_id, self._delivery.leases.now()):
                forgotten += self._store.delete(sourced_id)
        return forgotten

    def _beside(self, keys: Iterable[Key]) -> int:
        """Return how much of a reader's time, on all articles, was found to have been read beside another one."""
        return sum(state.ledger.beside_ms for state in map(self._readable, keys) if state is not None)

    def _seen(self, key: Key) -> ReadTimeState | None:
        state = self._store.load(key, self._delivery.leases.now())
        return None if state is None else attrs.evolve(state, seen_at_ms=self._delivery.leases.moment())

    def _readable(self, key: Key) -> ReadTimeState | None:
        try:
            return self._seen(key)
        except CorruptState as error:
            log_unreadable(error, "states")
            return None

    def _reader_key(self, reader: Reader | str) -> str:
        plain = reader.sourced_id if isinstance(reader, Reader) else reader
        return reduced(plain, "reader", self._roster(plain))

    def _roster(self, plain: object) -> str | None:
        """Return the OneRoster base URL that an id is reduced by; I2: without ``events=`` the one on record."""
        return self._recorded() if self._oneroster_url is None and "://" in str(plain) else self._oneroster_url

    def _recorded(self) -> str | None:
        """Return the OneRoster base URL that the store has on record, and remember it."""
        self._oneroster_url = (self._store.meta(self._facts) or {}).get("oneroster_url")
        return self._oneroster_url
