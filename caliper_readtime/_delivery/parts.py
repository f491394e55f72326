"""Whether the parts of a tracker fit together; said before anything is stored or sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from caliper_readtime._policy import ReaderBudget, ReadTimePolicy
from caliper_readtime._units import to_ms
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.protocols import KeepsWalls, LimitsBatch, StatesDeadline

if TYPE_CHECKING:
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime.protocols import Emitter, StateStore


#: Events, and bytes of events, in one envelope, unless told otherwise.
BATCH_EVENTS: Final = 100
BATCH_BYTES: Final = 1_000_000


class Fits(NamedTuple):
    """What the parts allow.

    Attributes:
        deadline_seconds: of the emitter; 0 where it states none.
        most_events: in one envelope.
        most_bytes: of events in one envelope.
    """

    deadline_seconds: float
    most_events: int
    most_bytes: int


def check_parts(
    store: StateStore,
    emitter: Emitter | None,
    events: TimeSpentEvents | None,
    policy: ReadTimePolicy,
    clock: object,
    on_report: object,
    batch_events: int | None,
    batch_bytes: int | None,
) -> Fits:
    """Return what the parts allow, if they fit together.

    Raises:
        ConfigurationError: it does not.
    """
    for name, kind, part, fits in (
        ("store", "a StateStore", store, _can(store, "due")),
        ("emitter", "an Emitter or None", emitter, emitter is None or _can(emitter, "emit")),
        ("events", "TimeSpentEvents or None", events, events is None or _can(events, "event")),
        ("policy", "a ReadTimePolicy", policy, isinstance(policy, ReadTimePolicy)),
        ("clock", "a function or None", clock, clock is None or callable(clock)),
        ("on_report", "a function or None", on_report, on_report is None or callable(on_report)),
    ):
        if not fits:
            raise ConfigurationError(f"{name}: must be {kind}, not {type(part).__name__}")
    if emitter is not None and events is None:
        raise ConfigurationError("an emitter needs TimeSpentEvents to build its events: pass events=TimeSpentEvents(…)")
    deadline = _deadline_of(emitter)
    most_events = _count(BATCH_EVENTS if batch_events is None else batch_events, "batch_events")
    if isinstance(emitter, LimitsBatch):
        most_events = min(most_events, _count(emitter.max_batch, "the emitter's max_batch"))
    if policy.reader_budget is ReaderBudget.ENFORCE and not isinstance(store, KeepsWalls):  # U8
        raise ConfigurationError(
            'reader_budget="enforce" needs a store that keeps what a reader has claimed on all articles (KeepsWalls),'
            f" which {type(store).__name__} does not: use another store, or measure"
        )
    # C9: an emitter that states a deadline not below the lease is refused.
    if deadline >= policy.lock_seconds:
        raise ConfigurationError(
            f"the emitter's deadline ({deadline:g} s) must be below the policy's lock_seconds"
            f" ({policy.lock_seconds:g} s), or two owners may send at once"
        )
    return Fits(deadline, most_events, _count(BATCH_BYTES if batch_bytes is None else batch_bytes, "batch_bytes"))


def _count(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1")
    return value


def _can(part: object, verb: str) -> bool:
    return callable(getattr(part, verb, None)) and not isinstance(part, type)


def _deadline_of(emitter: object) -> float:
    if not isinstance(emitter, StatesDeadline):
        return 0.0
    try:
        return to_ms(emitter.deadline_seconds, "deadline_seconds") / 1000
    except InvalidInput as error:
        raise ConfigurationError(f"the emitter's {error}") from error
