"""``ReadTimeTracker``: the verbs that hosts call."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import attrs

from caliper_readtime import _building, _checks, _settings
from caliper_readtime._delivery.flush import Flush
from caliper_readtime._delivery.report import Reporting
from caliper_readtime._delivery.send import FINALIZE, FLUSH, PARTIAL, Delivery
from caliper_readtime._logs import StoreAway, log_counted, log_missing, log_outlived, logger
from caliper_readtime._model import Activity, PageView, Reader
from caliper_readtime._operations import Operations
from caliper_readtime._policy import Completion, ReadTimePolicy
from caliper_readtime._results import Accumulation, FlushReport, Outcome, Report
from caliper_readtime._rules import Caller, Defer, Signal
from caliper_readtime._rules.heartbeat import made
from caliper_readtime._rules.identity import identified, reduced
from caliper_readtime._units import to_epoch_ms, to_ms
from caliper_readtime.errors import InvalidInput, MissingField, StoreUnavailable
from caliper_readtime.stores._clock import StoreClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Key
    from caliper_readtime.protocols import Emitter, StateStore


class ReadTimeTracker(Operations):
    """Owns readers' time: accepts it, keeps it, and reports every whole second of it exactly once.

    Thread-safe. May be built before a fork. A context manager: leaving it closes what the tracker created itself.

    Args:
        store: where states live.
        emitter: delivers events; None for a tracker that only accumulates, defers and inspects.
        events: builds events; needed with an emitter.
        policy: the rules.
        clock: returns the aware time that decides; None for the store's own clock, which all hosts share.
        on_report: called with a ``Report`` after each commit or failure, by whichever verb, and of a claim from which
            all was clamped; it can never break one. No commit is told twice; one may be told by nobody, where its
            process died, or the store had written it and gave no answer.
        batch_events: most events of one envelope: 100, or the emitter's ``max_batch`` where that is less.
        batch_bytes: most bytes of events in one envelope: a million.

    Raises:
        ConfigurationError: the parts do not fit together.
    """

    def __init__(
        self,
        store: StateStore,
        emitter: Emitter | None = None,
        events: TimeSpentEvents | None = None,
        policy: ReadTimePolicy = ReadTimePolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] | None = None,
        *,
        on_report: Callable[[Report], object] | None = None,
        batch_events: int | None = None,
        batch_bytes: int | None = None,
    ) -> None:
        self._delivery = Delivery(
            store,
            emitter,
            events,
            policy,
            clock,
            on_report=on_report,
            batch_events=batch_events,
            batch_bytes=batch_bytes,
        )
        self._store = store
        self._policy = policy
        self._clock = StoreClock(store) if clock is None else clock
        self._oneroster_url = None if events is None else events.oneroster_url
        self._sends = emitter is not None and policy.completion is Completion.SEND
        self._reporting = Reporting(self._delivery)
        self._facts = {} if events is None else {"sensor": events.sensor, "oneroster_url": events.oneroster_url}
        self._compared = False
        self._away = StoreAway()
        self._created: tuple[StateStore | Emitter, ...] = ()

    @classmethod
    def from_settings(cls, mapping: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a tracker from one mapping of settings, such as Flask's config or a Django dict.

        Args:
            mapping: settings by name (docs: "Settings"). Where any name carries the prefix ``CALIPER_READTIME_``, the
                others are not ours and are left alone.
            overrides: settings by lower-case name, and the parts ``events``, ``policy`` and ``clock`` as objects;
                ``emitter=None`` makes a tracker that sends nothing.

        Raises:
            ConfigurationError: settings are missing (all are named), unknown or wrong.
        """
        with _settings.naming_settings():
            parts = _building.parts(mapping, overrides)
            try:
                tracker = cls(parts.store, parts.emitter, parts.events, parts.policy, parts.clock, **parts.options)
            except BaseException:
                for part in parts.created:
                    part.close()
                raise
        tracker._created = parts.created
        return tracker

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Build a tracker from environment variables ``CALIPER_READTIME_…``.

        Raises:
            ConfigurationError: settings are missing (all are named), unknown or wrong.
        """
        return cls.from_settings(_settings.prefixed(os.environ if environ is None else environ), **overrides)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what ``from_settings`` or ``from_env`` created; parts that were passed in are their owner's."""
        for part in self._created:
            part.close()

    # Time comes in

    def accumulate(
        self,
        reader: Reader | str,
        article: Activity | str,
        delta_seconds: float,
        *,
        position_seconds: float | None = None,
        duration_seconds: float | None = None,
        heartbeat_id: str | None = None,
    ) -> Accumulation:
        """Add a heartbeat's time, clamped by wall time.

        Args:
            reader: a ``Reader``, or the id of one that is stored for this article.
            article: an ``Article``, or the id of one that is stored for this reader.
            delta_seconds: active time since the last heartbeat; 0 starts the clock.
            position_seconds: where in the article the reader is.
            duration_seconds: how long the article is.
            heartbeat_id: the client's id of this heartbeat, so that it can be sent again safely.

        Raises:
            InvalidInput: a value is not acceptable; nothing was stored.
            MissingField: nothing is stored yet and an id was passed: pass a Reader and an Article once.
            StoreError: the store could not take it; sending the same heartbeat id again is safe.
        """
        nonce = os.urandom(16).hex()
        key, known_reader, known_article = identified(self._oneroster_url, self._recorded, reader, article)
        signal = (
            self._policy,
            nonce,
            to_ms(delta_seconds, "delta_seconds"),
            known_reader,
            known_article,
            nonce[16:] if heartbeat_id is None else _checks.text(heartbeat_id, "heartbeat_id", _checks.MAX_SIGNAL_ID),
            None,
            0,
            None,
            None if position_seconds is None else to_ms(position_seconds, "position_seconds"),
            None if duration_seconds is None else to_ms(duration_seconds, "duration_seconds"),
            not self._sends,
        )
        return self._signal(key, made(Signal, signal))

    def observe(
        self,
        reader: Reader | str,
        article: Activity | str,
        view: PageView,
        *,
        opened_at: datetime | None = None,
        position_seconds: float | None = None,
        duration_seconds: float | None = None,
    ) -> Accumulation:
        """Take note of a page view's running total: what is new in it is added, clamped by wall time.

        Args:
            reader: a ``Reader``, or the id of one that is stored for this article.
            article: an ``Article``, or the id of one that is stored for this reader.
            view: the page view and its total.
            opened_at: when the page was opened, by the server's word (a signed ticket), never by the browser's.
            position_seconds: where in the article the reader is.
            duration_seconds: how long the article is.

        Raises:
            InvalidInput: a value is not acceptable; nothing was stored.
            MissingField: nothing is stored yet and an id was passed: pass a Reader and an Article once.
            StoreError: the store could not take it; the next total heals it.
        """
        return self._observe(reader, article, view, opened_at, position_seconds, duration_seconds)

    def observe_page(
        self,
        reader: Reader | str,
        article: Activity | str,
        view: PageView,
        *,
        opened_at: datetime | None = None,
        position_seconds: float | None = None,
        duration_seconds: float | None = None,
        until: datetime | None = None,
        defer: bool = False,
    ) -> Accumulation:
        """Do what ``observe`` does, for a page under a ticket that ends; see there.

        A reader of whom nothing is stored is looked up by the caller, so that it is worth no line in the log.

        Args:
            reader: as for ``observe``.
            article: as for ``observe``.
            view: as for ``observe``.
            opened_at: as for ``observe``.
            position_seconds: as for ``observe``.
            duration_seconds: as for ``observe``.
            until: wall time after this is not paid, by the server's word: the view is judged as if it came then.
            defer: an article that counts as read now is left to the sweeper, whatever the policy says.
        """
        return self._observe(
            reader, article, view, opened_at, position_seconds, duration_seconds, until, defer=defer, asks=True
        )

    def _observe(
        self,
        reader: Reader | str,
        article: Activity | str,
        view: PageView,
        opened_at: datetime | None,
        position_seconds: float | None,
        duration_seconds: float | None,
        until: datetime | None = None,
        *,
        defer: bool = False,
        asks: bool = False,
    ) -> Accumulation:
        if not isinstance(view, PageView):
            raise InvalidInput("view", f"must be a PageView, not {type(view).__name__}")
        nonce = os.urandom(16).hex()
        key, known_reader, known_article = identified(self._oneroster_url, self._recorded, reader, article)
        signal = (
            self._policy,
            nonce,
            to_ms(view.active_seconds, "view.active_seconds"),
            known_reader,
            known_article,
            nonce,
            view.id,
            to_ms(view.acknowledged_seconds, "view.acknowledged_seconds"),
            None if opened_at is None else to_epoch_ms(opened_at, "opened_at"),
            None if position_seconds is None else to_ms(position_seconds, "position_seconds"),
            None if duration_seconds is None else to_ms(duration_seconds, "duration_seconds"),
            defer or not self._sends,
        )
        return self._signal(
            key, made(Signal, signal), None if until is None else to_epoch_ms(until, "until"), asks=asks
        )

    def _signal(self, key: Key, signal: Signal, until_ms: int | None = None, *, asks: bool = False) -> Accumulation:
        if not self._compared:
            self._compare()
        now = self._delivery.leases.now() if until_ms is None else min(until_ms, self._delivery.leases.moment())
        try:
            counted, state = self._store.update(key, signal, now)
        except StoreUnavailable as error:
            self._away.failed("article accumulate", error, **key._asdict())
            raise
        except MissingField as error:
            if not asks:
                log_missing(error, key)
            raise
        assert state is not None  # noqa: S101 - a signal never removes a state
        accepted, clamped, duplicate, completed, other_duration, other_kind = counted
        if clamped or other_duration or other_kind or logger.isEnabledFor(logging.DEBUG):
            log_counted(key, signal, counted, state)
        # X6: at a birth alone are these the same.
        if signal.acknowledged_ms and state.meter.last_sync_at_ms == state.ledger.first_sync_at_ms:
            log_outlived(key, signal, state)
        report = self._reporting.completed(key, state, defers=signal.defers) if completed else None
        if report is not None and report.state is not None:
            state = report.state
        return Accumulation(accepted / 1000, clamped / 1000, duplicate, state, report)

    # Time goes out

    def partial(self, reader: Reader | str, article: Activity | str, *, defer: bool = False) -> Report:
        """Report what is not reported yet, as one TimeSpent event (after an older claim, if one is left).

        Args:
            reader: a ``Reader`` (which refreshes the stored context), or an id.
            article: an ``Article`` (which refreshes the stored context), or an id.
            defer: send nothing; the sweeper does it.

        Returns:
            SENT, NOTHING_TO_SEND, IN_FLIGHT or DEFERRED.

        Raises:
            EmitterUnavailable: not delivered; the time stays due and keeps its event id.
            EventRejected: the event was refused and is parked.
            ConfigurationError: the tracker has no emitter.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached; the time stays due.
        """
        return self._explicit(reader, article, finalize=False, defer=defer)

    def finalize(self, reader: Reader | str, article: Activity | str, *, defer: bool = False) -> Report:
        """Report everything and stamp ``finalized_at``; one winner under contention, the others get IN_FLIGHT.

        Args:
            reader: a ``Reader`` (which refreshes the stored context), or an id.
            article: an ``Article`` (which refreshes the stored context), or an id.
            defer: send nothing; the sweeper does it.

        Returns:
            SENT, NOTHING_TO_SEND, IN_FLIGHT or DEFERRED.

        Raises:
            EmitterUnavailable: not delivered; the sweeper finishes it.
            EventRejected: the event was refused and is parked, or only such time is left.
            ConfigurationError: the tracker has no emitter.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached; the time stays due.
        """
        return self._explicit(reader, article, finalize=True, defer=defer)

    def _explicit(self, reader: Reader | str, article: Activity | str, *, finalize: bool, defer: bool) -> Report:
        key, known_reader, known_article = identified(self._oneroster_url, self._recorded, reader, article)
        with self._away.with_context(FINALIZE if finalize else PARTIAL, **key._asdict()):
            self._compare()
            if not defer:
                return self._reporting.report(key, Caller.EXPLICIT, known_reader, known_article, finalize=finalize)
            waits, state = self._delivery.leases.update(key, Defer(finalize, known_reader, known_article))
        return self._reporting.deferred(key, state) if waits else Report(Outcome.NOTHING_TO_SEND, *key, state=state)

    def flush_reader(
        self,
        reader: Reader | str,
        *,
        resource_ids: Iterable[str] | None = None,
        wait_seconds: float = 0.0,
        confirm: bool = False,
    ) -> FlushReport:
        """Report everything that a reader has unreported, in as few envelopes as possible. Call it before banking.

        Args:
            reader: whose time; a ``Reader`` refreshes the stored context, which heals what was refused for it.
            resource_ids: only these articles.
            wait_seconds: how long to wait for claims that others hold, and for the confirmation.
            confirm: ask the endpoint until it holds what was sent.

        Returns:
            One report for each article that had something. Bank when it is ``settled`` and ``confirmed`` is not False.

        Raises:
            ConfigurationError: the tracker has no emitter.
            InvalidInput: a value is not acceptable.
            StoreError: the store could not be reached; the time stays due.
        """
        sourced_id = self._reader_key(reader)
        wait = to_ms(wait_seconds, "wait_seconds") / 1000
        if isinstance(resource_ids, str | bytes) or not isinstance(resource_ids, Iterable | None):
            raise InvalidInput("resource_ids", "must be several ids, not one")
        given = tuple(resource_ids or ())
        wanted = {reduced(resource_id, "resource_ids", self._roster(resource_id)) for resource_id in given}
        known_reader = attrs.evolve(reader, sourced_id=sourced_id) if isinstance(reader, Reader) else None

        def list_keys() -> Sequence[Key]:
            keys = self._store.keys(sourced_id, self._delivery.leases.now())
            return keys if resource_ids is None else [key for key in keys if key.resource_id in wanted]

        flush = Flush(self._delivery, uuid4().hex, list_keys, reader=known_reader, wait_seconds=wait)
        with self._away.with_context(FLUSH, reader_sourced_id=sourced_id):
            self._compare()
            return flush.run(confirm=confirm)

    # Shared

    def _compare(self) -> None:
        """Make sure, once, that the store is not in use for another sensor or OneRoster service."""
        if not self._compared:
            self._store.meta(self._facts)
            self._compared = True
