"""Whether the parts of a tracker fit together; said before anything is stored or sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._units import to_ms
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.protocols import LimitsBatch, StatesDeadline

if TYPE_CHECKING:
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime.protocols import Emitter, StateStore


def check_parts(
    store: StateStore,
    emitter: Emitter | None,
    events: TimeSpentEvents | None,
    policy: ReadTimePolicy,
    clock: object,
    on_report: object,
) -> float:
    """Return the emitter's deadline in seconds, 0 where it states none, if everything fits.

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
    if isinstance(emitter, LimitsBatch) and (not isinstance(emitter.max_batch, int) or emitter.max_batch < 1):
        raise ConfigurationError("the emitter's max_batch must be a whole number of at least 1")
    # C9: an emitter that states a deadline not below the lease is refused.
    if deadline >= policy.lock_seconds:
        raise ConfigurationError(
            f"the emitter's deadline ({deadline:g} s) must be below the policy's lock_seconds"
            f" ({policy.lock_seconds:g} s), or two owners may send at once"
        )
    return deadline


def _can(part: object, verb: str) -> bool:
    return callable(getattr(part, verb, None)) and not isinstance(part, type)


def _deadline_of(emitter: object) -> float:
    if not isinstance(emitter, StatesDeadline):
        return 0.0
    try:
        return to_ms(emitter.deadline_seconds, "deadline_seconds") / 1000
    except InvalidInput as error:
        raise ConfigurationError(f"the emitter's {error}") from error
