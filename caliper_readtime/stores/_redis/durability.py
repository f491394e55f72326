"""PURE: what a claim waits for before its event is sent, and what is said where it waited in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caliper_readtime.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import Key

_LONGEST_SECONDS = 60


def check(replicas: Any, wait_seconds: float) -> None:
    """Make sure that a store can ask for this.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
        raise ConfigurationError("claim_replicas: must be a whole number, 0 or more")
    if isinstance(wait_seconds, bool) or not 0 < wait_seconds <= _LONGEST_SECONDS:
        raise ConfigurationError("claim_wait_seconds: must be above 0 and at most 60 seconds")


def waits(replicas: int, wait_seconds: float, *, fsync: bool) -> tuple[tuple[Any, ...], ...]:
    """Return the commands that wait for replicas, and for the disk, on the connection that wrote a claim."""
    patience = round(wait_seconds * 1000)
    asked = (("WAIT", replicas, patience),) if replicas else ()
    return (*asked, ("WAITAOF", 1, 0, patience)) if fsync else asked


def missing(waits: Sequence[Sequence[Any]], acknowledged: Sequence[Any]) -> str | None:
    """Return whose acknowledgement of a claim is missing; an error may stand for an answer to a wait."""
    for (command, wanted, *_), got in zip(waits, acknowledged, strict=True):
        have = 0 if isinstance(got, Exception) else got if isinstance(got, int) else got[0]
        if have < wanted:
            disks = "disks (which needs Redis 7.2 or Valkey, and appendonly yes)"
            return f"{have} of {wanted} {disks if command == 'WAITAOF' else 'replicas'}"
    return None


def not_durable(where: str, key: Key, missing: str, wait_seconds: float) -> StoreUnavailable:
    """C7: return what is said of a claim that is not as durable as it has to be."""
    return StoreUnavailable(
        f"Redis at {where}: {missing} had the claim within {wait_seconds:g} s, so nothing was sent: reader"
        f" {key.reader_sourced_id}, article {key.resource_id}; look at replication and persistence, or ask for less by"
        " claim_replicas and claim_fsync",
        **key._asdict(),
    )
