"""``ReadTimePolicy``: every number that decides how time is accepted, reported and kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import attrs

from caliper_readtime import _checks
from caliper_readtime._units import to_ms
from caliper_readtime.errors import ConfigurationError, InvalidInput

#: D5: a lease or a wait that lies further ahead than these was left by a clock that jumped.
LONGEST_LEASE_SECONDS: Final = 3600
LONGEST_WAIT_SECONDS: Final = 86_400
#: B6: what one signal adds at most. No script is away from its server for longer and still reading one article, and
#: a first signal whose page was opened days ago cannot claim days.
MAX_DELTA_SECONDS: Final = 4 * 3600.0


class Completion(StrEnum):
    """What a heartbeat does once the article counts as read: finalize at once, or leave it to the sweeper."""

    SEND = "send"
    DEFER = "defer"


class ReaderBudget(StrEnum):
    """What is done about time that was read beside another article: nothing, or found and told, or taken off."""

    OFF = "off"
    MEASURE = "measure"
    ENFORCE = "enforce"


def _completion(value: Any) -> Completion:
    completion = _checks.member(Completion, value)
    if completion is None:
        raise ConfigurationError('ReadTimePolicy.completion: must be "send" or "defer"')
    return completion


def _reader_budget(value: Any) -> ReaderBudget:
    budget = _checks.member(ReaderBudget, value)
    if budget is None:
        raise ConfigurationError('ReadTimePolicy.reader_budget: must be "off", "measure" or "enforce"')
    return budget


def _seconds(*, zero: bool = True, optional: bool = False) -> Any:
    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        try:
            ms = to_ms(value, attribute.name)
        except InvalidInput as error:
            raise ConfigurationError(f"ReadTimePolicy.{error}") from error
        if ms == 0 and not zero:
            raise ConfigurationError(f"ReadTimePolicy.{attribute.name}: must be at least 0.001 seconds")

    return validate


def _rate(most: int, *, optional: bool = False) -> Any:
    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise ConfigurationError(f"ReadTimePolicy.{attribute.name}: must be above 0 and at most {most}")

    return validate


def _ms(value: float | None) -> int | None:
    return None if value is None else to_ms(value, "seconds")


@attrs.frozen(kw_only=True, cache_hash=True)  # a heartbeat looks its numbers up by it
class ReadTimePolicy:
    """The rules of one tracker. All durations are seconds; every host of one store should use the same.

    Attributes:
        heartbeat_seconds: what a first signal may claim at most, besides the leeway: one heartbeat's worth.
        leeway_seconds: tolerance for late heartbeats and rounding, granted once over a state's whole life.
        catch_up_seconds: how much unused wall time is kept, so that a late total can still claim it.
        max_delta_seconds: most that one signal may add, the first included; None for no such limit.
        completion_ratio: position ÷ duration from which the article counts as read.
        completion_dwell_seconds: accepted time from which it counts as read, or None.
        completion_words_per_minute: the fastest reading that counts, of articles whose words are known; None for any.
        completion_playback_rate: the fastest playback that counts, of video and audio.
        completion: ``"send"`` finalizes from the heartbeat, ``"defer"`` leaves it to the sweeper.
        duration_tolerance_seconds: by how much a later duration may differ from the first without a warning.
        lock_seconds: lease of a claim, at most an hour; the emitter's deadline must be shorter.
        state_ttl_seconds: how long a state without unreported time is kept after its last use.
        partial_min_seconds: a ``partial`` below this waits for the next trigger.
        retry_backoff_seconds: first wait after a failed emission; doubles, with jitter.
        max_retry_backoff_seconds: longest such wait, at most a day.
        reader_budget: what is done about time on one article that was read beside another: ``"off"`` nothing;
            ``"measure"`` it is found where time is claimed, told and kept; ``"enforce"`` it is taken off there.

    Raises:
        ConfigurationError: a value is out of range.
    """

    heartbeat_seconds: float = attrs.field(default=10.0, validator=_seconds(zero=False))
    leeway_seconds: float = attrs.field(default=5.0, validator=_seconds())
    catch_up_seconds: float = attrs.field(default=300.0, validator=_seconds())
    max_delta_seconds: float | None = attrs.field(
        default=MAX_DELTA_SECONDS, validator=_seconds(zero=False, optional=True)
    )
    completion_ratio: float = attrs.field(default=0.95, validator=_rate(1))
    completion_dwell_seconds: float | None = attrs.field(default=None, validator=_seconds(zero=False, optional=True))
    completion_words_per_minute: float | None = attrs.field(default=None, validator=_rate(100_000, optional=True))
    completion_playback_rate: float = attrs.field(default=2.0, validator=_rate(100))
    completion: Completion = attrs.field(default=Completion.SEND, converter=_completion)
    duration_tolerance_seconds: float = attrs.field(default=5.0, validator=_seconds())
    lock_seconds: float = attrs.field(default=30.0, validator=_seconds(zero=False))
    state_ttl_seconds: float = attrs.field(default=30 * 86400.0, validator=_seconds(zero=False))
    partial_min_seconds: float = attrs.field(default=0.0, validator=_seconds())
    retry_backoff_seconds: float = attrs.field(default=5.0, validator=_seconds(zero=False))
    max_retry_backoff_seconds: float = attrs.field(default=3600.0, validator=_seconds(zero=False))

    reader_budget: ReaderBudget = attrs.field(default=ReaderBudget.MEASURE, converter=_reader_budget)

    # The same in whole milliseconds, worked out once: the heartbeat reads them.
    heartbeat_ms: int = attrs.field(init=False, repr=False, eq=False)
    leeway_ms: int = attrs.field(init=False, repr=False, eq=False)
    catch_up_ms: int = attrs.field(init=False, repr=False, eq=False)
    max_delta_ms: int | None = attrs.field(init=False, repr=False, eq=False)
    completion_dwell_ms: int | None = attrs.field(init=False, repr=False, eq=False)
    duration_tolerance_ms: int = attrs.field(init=False, repr=False, eq=False)
    lock_ms: int = attrs.field(init=False, repr=False, eq=False)
    state_ttl_ms: int = attrs.field(init=False, repr=False, eq=False)
    partial_min_ms: int = attrs.field(init=False, repr=False, eq=False)
    retry_backoff_ms: int = attrs.field(init=False, repr=False, eq=False)
    max_retry_backoff_ms: int = attrs.field(init=False, repr=False, eq=False)

    @lock_seconds.validator
    def _lease(self, _: attrs.Attribute[float], value: float) -> None:
        if value > LONGEST_LEASE_SECONDS:
            raise ConfigurationError("ReadTimePolicy.lock_seconds: must be at most an hour")

    @max_retry_backoff_seconds.validator
    def _backoffs(self, _: attrs.Attribute[float], value: float) -> None:
        if value < self.retry_backoff_seconds:
            raise ConfigurationError("ReadTimePolicy.max_retry_backoff_seconds: must be at least retry_backoff_seconds")
        if value > LONGEST_WAIT_SECONDS:
            raise ConfigurationError("ReadTimePolicy.max_retry_backoff_seconds: must be at most a day")

    def __attrs_post_init__(self) -> None:
        for name in (attribute.name for attribute in attrs.fields(ReadTimePolicy)):
            if name.endswith("_ms"):
                object.__setattr__(self, name, _ms(getattr(self, name.removesuffix("_ms") + "_seconds")))
