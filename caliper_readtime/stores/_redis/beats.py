"""``Beats``: steady heartbeats by one script, and what a process remembers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import Counted, Signal, other_duration
from caliper_readtime._rules.heartbeat import made
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.encoding import beat_args, beaten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import Key, Ledger, ReadTimeState
    from caliper_readtime.stores._redis.connection import Link
    from caliper_readtime.stores._redis.encoding import Names

#: Ledgers that a process remembers, so that Redis need not send them along with each heartbeat's answer.
MOST_LEDGERS: Final = 4096


class Beats:
    """Bounded, and safe for threads: what is remembered is told apart by the nonce of the write that made it.

    Attributes:
        ledgers: by member, with that nonce.
    """

    def __init__(self) -> None:
        self.ledgers: dict[str, tuple[str, Ledger]] = {}
        self._script = ReadTimePolicy(), scripts.BEAT

    def beat(
        self, redis: Link, key: Key, names: Names, signal: Signal, now: int | None
    ) -> tuple[tuple[Counted, ReadTimeState] | None, Sequence[Any]]:
        """Apply a steady heartbeat; T4.

        Args:
            redis: where.
            key: the state's.
            names: of its keys.
            signal: the heartbeat.
            now: the time that decides; None for the server's clock.

        Returns:
            What it came to and the state that it left; or None, and what was read of it, where the signal is
            not a steady one.
        """
        policy, script = self._script
        if signal.policy is not policy:
            script = scripts.beat(signal.policy)
            self._script = signal.policy, script
        nonce, ledger = self.ledgers.get(names.member, ("", None))
        answer = redis.run(script, names.beat, beat_args(names, signal, nonce, now), key)
        if answer[0] < 0:
            return None, answer[1:]
        accepted, meter, clamped, duplicate, newer = answer if answer[2:] else (*answer, 0, 0, None)
        state, nonce = beaten(key, meter, ledger if newer is None else newer)
        if newer is not None:
            if len(self.ledgers) >= MOST_LEDGERS:
                self.ledgers.clear()
            self.ledgers[names.member] = nonce, state.ledger
        other = signal.duration_ms is not None and other_duration(signal, state.ledger)
        return (made(Counted, (accepted, clamped, duplicate == 1, False, other, False)), state), ()
