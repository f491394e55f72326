"""One reconciliation: what the endpoint holds of one reader, beside what was accepted; and repair (chapter J)."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from caliper_readtime._accounts import HeldEvent, compared, elsewhere, held_event
from caliper_readtime._checks import without_emails
from caliper_readtime._interruptions import pass_interruption
from caliper_readtime._logs import log, log_unreadable
from caliper_readtime._results import ArticleReconciliation, EventSum, Reconciliation
from caliper_readtime._rules.reconcile import MarkShown, SendAgain, id_of, rebuilt
from caliper_readtime._rules.state import SECOND
from caliper_readtime.errors import ConfigurationError, CorruptState, EmitError, EmitterUnavailable, EventRejected
from caliper_readtime.protocols import ListsEvents, ReadsBack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caliper_readtime._accounts import Comparison
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._rules.account import SentEvent
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.protocols import Emitter

T = TypeVar("T")


class Reconciling:
    """Asks the endpoint first and reads the states then, so that what is sent meanwhile never looks foreign."""

    def __init__(self, delivery: Delivery, reader: str, *, since_ms: int | None, settle_ms: int) -> None:
        self._leases = delivery.leases
        self._reader = reader
        delivery.require()
        self._events = delivery.leases.require()
        emitter = delivery.emitter
        if emitter is None or not isinstance(emitter, ListsEvents):
            raise ConfigurationError(
                "this emitter cannot list what its endpoint holds, so nothing can be compared: HttpCaliperEmitter can,"
                " and an emitter of yours that has `listed` (ListsEvents)"
            )
        self._emitter: Emitter = emitter
        self._list: Callable[[str], Sequence[Mapping[str, Any]]] = emitter.listed
        self._since_ms = since_ms
        self._settle_ms = settle_ms

    def run(self, *, repair: bool) -> Reconciliation:
        """Compare every article, and repair where asked to."""
        held = self._held()
        leases = self._leases
        articles: list[ArticleReconciliation] = []
        unread: list[str] = []
        keys = leases.store.keys(self._reader, leases.now())
        for key in keys:
            try:
                state = leases.store.load(key, leases.now())
                if state is not None:
                    articles.append(self._article(key, state, held, repair=repair))
            except CorruptState as error:
                log_unreadable(error, "reconcile")
                unread.append(key.resource_id)
        names = [self._events.activity_id(key.resource_id) for key in keys]
        return Reconciliation(self._reader, tuple(articles), elsewhere(held, names), tuple(unread))

    def _held(self) -> list[HeldEvent]:
        actor = self._events.actor_id(self._reader)
        return _asked(lambda: [event for event in map(held_event, self._list(actor)) if event is not None])

    def _article(
        self, key: Key, state: ReadTimeState, held: Sequence[HeldEvent], *, repair: bool
    ) -> ArticleReconciliation:
        try:
            comparison = compared(
                state,
                held,
                self._events.activity_id(key.resource_id),
                self._events.sensor,
                now=self._leases.moment(),
                settle_ms=self._settle_ms,
                since_ms=self._since_ms,
            )
        except (ValueError, IndexError) as error:
            raise CorruptState(
                "the account of its events cannot be read; it was left as it is", **key._asdict()
            ) from error
        if comparison.shown:
            self._leases.update(key, MarkShown(state.ledger.generation, comparison.shown))
        return self._repaired(key, state, comparison) if repair and comparison.article.missing else comparison.article

    def _repaired(self, key: Key, state: ReadTimeState, comparison: Comparison) -> ArticleReconciliation:
        """Send again what is missing, each event alone: a refusal must not hold up the others."""
        article = comparison.article
        resendable = {id_of(state, event): event for event in comparison.resendable}
        sent_ms: dict[str, int] = {}
        unrepaired: list[tuple[str, str]] = []
        for event_id in article.missing.event_ids:
            event = resendable.get(event_id)
            reason = "it is too old to be built again" if event is None else self._send_again(key, state, event)
            if event is not None and reason is None:
                sent_ms[event_id] = event.end_ms - event.start_ms
            elif reason is not None:
                unrepaired.append((event_id, reason))
        repaired = EventSum(sum(sent_ms.values()) / SECOND, tuple(sent_ms))
        return attrs.evolve(article, repaired=repaired, unrepaired=tuple(unrepaired))

    def _send_again(self, key: Key, state: ReadTimeState, event: SentEvent) -> str | None:
        """Send one event again; return why not."""
        leases, generation, event_id = self._leases, state.ledger.generation, id_of(state, event)
        body = rebuilt(self._events, state, event)
        if body is None:
            return "what it was built from is gone, so its bytes would differ"
        if self._shows(event_id):
            leases.update(key, MarkShown(generation, frozenset({event_id})))
            return "the endpoint shows it after all"
        # Durable before anything is sent: whoever looks meanwhile, or after a crash, waits for it to be shown.
        if not leases.update(key, SendAgain(generation, event_id, event.sent_at_ms))[0]:
            return "somebody else is sending it"
        fields = {**key._asdict(), "event_id": event_id, "delta": (event.end_ms - event.start_ms) / SECOND}
        try:
            doubt = _asked(lambda: self._emit(json.loads(body)))
        except EventRejected as error:
            log(logging.ERROR, "reconcile: the endpoint refuses an event that it had accepted", **fields)
            return without_emails(f"the endpoint refuses it: {error}")
        if doubt is not None:
            return without_emails(f"it was sent again and may have arrived: {doubt}")
        log(logging.WARNING, "reconcile: an event that the endpoint did not hold was sent again", **fields)
        return None

    def _emit(self, event: Mapping[str, Any]) -> EmitterUnavailable | None:
        """Emit; what may be about this event alone is returned, since it must not hold up the others."""
        try:
            self._emitter.emit([event])
        except EmitterUnavailable as error:
            pass_interruption(error)
            if error.tried and error.ambiguous:
                return error
            raise
        return None

    def _shows(self, event_id: str) -> bool:
        """Ask once more, for this one event, right before it would be sent."""
        emitter = self._emitter
        if isinstance(emitter, ReadsBack):
            return bool(_asked(lambda: emitter.held((event_id,))))
        return any(event.event_id == event_id for event in self._held())


def _asked(ask: Callable[[], T]) -> T:
    """L4: ask an emitter; whatever it raises that is none of our errors is told as one."""
    try:
        return ask()
    except EmitError:
        raise
    except Exception as error:
        pass_interruption(error)
        raise EmitterUnavailable(f"the emitter failed with {type(error).__name__}") from error
