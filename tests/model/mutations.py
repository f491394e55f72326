"""Rules of the protocol, each taken out of the real code in one place, and the scenario that must notice."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from caliper_readtime._rules import Verb, claim, heartbeat, outcome, steps
from caliper_readtime._rules.ranges import Claim, Parked
from caliper_readtime._rules.state import ReadTimeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Mutation(NamedTuple):
    """One small fault.

    Attributes:
        rule: what the protocol says, by its id, and the mutant does not do.
        where: the function, or the property of a class.
        text: what stands there, exactly once.
        instead: what the mutant says.
        scenario: which must notice.
    """

    rule: str
    where: Callable[..., Any] | property
    text: str
    instead: str
    scenario: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the mutant in the function's place, wherever the package refers to it."""
        original = self.where.fget if isinstance(self.where, property) else self.where
        source = textwrap.dedent(inspect.getsource(original))
        found = source.count(self.text)
        assert found == 1, f"{original.__qualname__} holds {self.text!r} {found} times: bring the mutation up to date"
        code = compile(
            source.replace(self.text, self.instead), "<mutant>", "exec", __future__.annotations.compiler_flag
        )
        names: dict[str, Any] = {}
        exec(code, original.__globals__, names)  # noqa: S102 - the package's own text
        with ExitStack() as stack:
            for patch in _patches(self.where, names[original.__name__]):
                stack.enter_context(patch)
            yield


def _patches(original: object, mutant: Any) -> Iterator[Any]:
    """Yield a patch for every place that holds the original: modules, classes, and the tables of the verbs."""
    modules = [module for name, module in sys.modules.items() if name.startswith("caliper_readtime.")]
    for holder in (*modules, ReadTimeState, Parked, Claim, claim.AcquireClaim):
        for name, value in tuple(vars(holder).items()):
            if value is original:
                yield mock.patch.object(holder, name, mutant)
    for verb in Verb.__subclasses__():
        for phase, rule in tuple(verb.rules.items()):
            if rule.function is original:
                yield mock.patch.dict(verb.rules, {phase: rule._replace(function=mutant)})


MUTATIONS = (
    # Signals
    Mutation(
        "S2: an evicted view must not be paid twice",
        heartbeat._heard,
        "signal.acknowledged_ms if known is None else known",
        "known or 0",
        "eviction",
    ),
    Mutation(
        "S9: a reborn state would pay twice",
        heartbeat.birth,
        "known = total if reborn else",
        "known =",
        "rebirth",
    ),
    Mutation(
        "S4: a known heartbeat id is a duplicate whatever its delta",
        heartbeat.count,
        "if not duplicate:",
        "if True:",
        "signals",
    ),
    Mutation(
        "B5: what was accepted is not kept in the budget",
        heartbeat.spend,
        "left = allowed - accepted",
        "left = allowed",
        "signals",
    ),
    Mutation(
        "B9: a clock that steps back never moves last sync back",
        heartbeat.count,
        "now if elapsed > 0 else last_sync",
        "now",
        "signals",
    ),
    Mutation(
        "B9: a clock that steps back counts as no elapsed time",
        heartbeat.count,
        "budget + elapsed if elapsed > 0 else budget",
        "budget + abs(elapsed)",
        "signals",
    ),
    Mutation(
        "S5: a signal that claims nothing new moves no time",
        heartbeat.count,
        "    if claimed:",
        "    if True:",
        "signals",
    ),
    Mutation(
        "D3: new time is due from its last sync, although a parked event has an index entry for tomorrow",
        heartbeat.count,
        "if ledger.parked and new is not meter",
        "if False and new is not meter",
        "later time",
    ),
    # Due, expiry, the stamp
    Mutation(
        "D2: a claim is due at the end of its lease or back-off",
        ReadTimeState.due,
        "return Due(ledger.claim.until_at_ms, soft=False)",
        "return None",
        "hand-over",
    ),
    Mutation(
        "D4: a deferral or a completion never shortens a lease or a back-off",
        ReadTimeState.due,
        "if ledger.claim is not None:",
        "if ledger.claim is not None and ledger.deferred_at_ms is None:",
        "completion beside a report",
    ),
    Mutation(
        "D3: a parked event is due at once when its context has changed",
        ReadTimeState.due,
        "parked.parked_at_ms if parked.corrected(ledger.context) else parked.retry_at_ms",
        "parked.retry_at_ms",
        "slow owner",
    ),
    Mutation(
        "P10: behind a full list new time makes nothing due",
        ReadTimeState.due,
        "self.unclaimed_ms >= SECOND and len(ledger.parked) < MAX_PARKED",
        "self.unclaimed_ms >= SECOND",
        "parking",
    ),
    Mutation(
        "X1: a claim keeps its state from expiring",
        ReadTimeState.expires_at_ms,
        "ledger.claim is not None or ledger.parked or self",
        "ledger.parked or self",
        "hand-over",
    ),
    Mutation(
        "X1: a parked event keeps its state from expiring",
        ReadTimeState.expires_at_ms,
        "ledger.claim is not None or ledger.parked or self",
        "ledger.claim is not None or self",
        "slow owner",
    ),
    Mutation(
        "D8: finalized_at waits for parked events",
        steps.settled,
        "or ledger.parked or",
        "or",
        "replays",
    ),
    Mutation(
        "D8: finalized_at waits for claims",
        steps.settled,
        "or ledger.claim is not None or",
        "or",
        "slow owner, split",
    ),
    Mutation(
        "D8: every verb stamps what has earned it: the commit that leaves nothing",
        outcome.commit,
        "return settled(evolved(state, ledger=ledger), now), CommitResult",
        "return evolved(state, ledger=ledger), CommitResult",
        "hand-over",
    ),
    Mutation(
        "V6: a finalize that cannot finish leaves its wish",
        steps.refreshed,
        "wanted = ledger.finalize_wanted or (finalize and ledger.finalized_at_ms is None)",
        "wanted = ledger.finalize_wanted",
        "hand-over",
    ),
    # Claims
    Mutation(
        "C1: another owner's live lease: IN_FLIGHT",
        claim.acquire_held,
        "claim.leased(now)",
        "False",
        "hand-over",
    ),
    Mutation(
        "S14: while a back-off runs heartbeats send nothing",
        claim.acquire_released,
        "verb.caller is not Caller.EXPLICIT",
        "verb.caller is Caller.SWEEP",
        "completion",
    ),
    Mutation(
        "S14: while an event is parked heartbeats send nothing",
        claim.acquire_unclaimed,
        "if ledger.parked and verb.caller is Caller.HEARTBEAT:",
        "if False:",
        "completion",
    ),
    Mutation(
        "C2: the same claim again: the same bytes",
        claim._claimed_again,
        "if claim.rejections and",
        "if",
        "slow owner",
    ),
    Mutation(
        "P11: a refused event that stayed in the slot is rebuilt if the context has changed",
        claim._claimed_again,
        "if claim.rejections and",
        "if claim.rejections > 99 and",
        "parking",
    ),
    Mutation(
        "P10: with a full list only explicit calls claim new time",
        claim._sweep_waits,
        "len(state.ledger.parked) >= MAX_PARKED",
        "False",
        "full list",
    ),
    Mutation(
        "C3: an event holds at most what one event may",
        claim._acquire_new,
        "min(state.unclaimed_ms // SECOND * SECOND, MAX_EVENT_MS)",
        "state.unclaimed_ms // SECOND * SECOND",
        "splitting",
    ),
    Mutation(
        "V2: whole seconds; the rest below one second is carried",
        claim._acquire_new,
        "state.unclaimed_ms // SECOND * SECOND",
        "state.unclaimed_ms",
        "hand-over",
    ),
    # Commit, release, park
    Mutation(
        "K4: after forget, expiry or rebirth a commit is a no-op",
        outcome.commit,
        "if ledger.generation != verb.generation:",
        "if False:",
        "rebirth",
    ),
    Mutation(
        "K1: a commit never lowers the pointer",
        outcome.commit,
        "pointer_ms = max(ledger.pointer_ms, verb.end_ms) if claimed",
        "pointer_ms = verb.end_ms if claimed",
        "parking",
    ),
    Mutation(
        "K2: a commit also finds parked events",
        outcome.commit,
        "known = claimed or listed(ledger, verb.event_id) is not None",
        "known = claimed",
        "slow owner",
    ),
    Mutation(
        "K2: a commit removes the parked entry",
        outcome.commit,
        "parked=parked and tuple([entry for entry in parked if entry.event_id != verb.event_id])",
        "parked=parked",
        "parking",
    ),
    Mutation(
        "L1: release needs the current owner token",
        outcome.release,
        "claim.owner != verb.owner or ",
        "",
        "hand-over",
    ),
    Mutation(
        "P1: park needs the current owner token",
        outcome.park,
        "claim.owner != verb.owner or ",
        "",
        "slow owner",
    ),
    Mutation(
        "C11: renewing needs the current owner token",
        outcome.renew,
        "claim.owner != verb.owner or ",
        "",
        "slow owner",
    ),
    Mutation(
        "L2: a failed emission is followed by a back-off",
        outcome.release,
        "until = now + spread(longest if verb.at_maximum else doubled, verb.jitter)",
        "until = now",
        "hand-over",
    ),
    Mutation(
        "P1: a parked event keeps the context it was built from",
        outcome.park,
        "set_aside(ledger, claim,",
        "set_aside(ledger, evolved(claim, context=ledger.context),",
        "slow owner",
    ),
    Mutation(
        "P2: the pointer steps over a parked range",
        steps.set_aside,
        "max(ledger.pointer_ms, claim.end_ms)",
        "ledger.pointer_ms",
        "parking",
    ),
    Mutation(
        "P8: a new refusal replaces its entry",
        steps.set_aside,
        "*(entry for entry in ledger.parked if entry is not before)",
        "*ledger.parked",
        "parking",
    ),
    Mutation(
        "P11: with a full list a refused event stays in the claim slot",
        outcome.park,
        "len(ledger.parked) >= MAX_PARKED",
        "False",
        "parking",
    ),
    Mutation(
        "P11: … released at the maximum back-off",
        outcome.park,
        "at_maximum=True",
        "at_maximum=False",
        "parking",
    ),
    Mutation(
        "P6: unpark sets the retry time to now, durably",
        claim.unpark,
        "min(now, entry.retry_at_ms)",
        "entry.retry_at_ms",
        "parking",
    ),
    Mutation(
        "D7: sweep takes what is due and idle: no deferral is left on time that is in flight",
        claim.defer,
        " if state.ledger.finalize_wanted or state.unclaimed_ms >= SECOND else state",
        "",
        "deferral",
    ),
    Mutation(
        "P4: a parked event is claimable when its context was corrected",
        Parked.claimable,
        " or self.corrected(context)",
        "",
        "slow owner",
    ),
    Mutation(
        "P5: each changed value makes an event claimable once",
        Parked.corrected,
        " and fingerprint(context) not in self.tried",
        "",
        "two addresses",
    ),
    Mutation(
        "P6: a refusal of an earlier try does not undo an unpark",
        steps.set_aside,
        "if before is not None and claim.first_claimed_at_ms < before.retry_at_ms <= now:",
        "if False:",
        "parking",
    ),
    Mutation(
        "P9: a retry that fails goes back to the list",
        outcome.release,
        "if listed(ledger, claim.event_id) is not None:",
        "if False:",
        "slow owner",
    ),
    Mutation(
        "P9: … with a back-off of its own",
        outcome._back_to_the_list,
        "retry_at_ms=until",
        "retry_at_ms=0",
        "slow owner",
    ),
    Mutation(
        "P12: at its third failure an event makes way for newer time",
        outcome.release,
        "claim.attempts >= MAX_FAILURES",
        "claim.attempts > MAX_FAILURES",
        "making way",
    ),
    Mutation(
        "I7, P12: … with its bytes, since it may have arrived",
        claim._claimed,
        "retry is not None and retry.fixed",
        "False",
        "making way",
    ),
    Mutation(
        "P12: … and not where none waits",
        outcome.release,
        "and state.unclaimed_ms >= SECOND",
        "",
        "making way",
    ),
    Mutation(
        "P12, V3: nobody has refused it, so explicit calls do not mind its back-off",
        Parked.claimable,
        " or (explicit and not self.refused)",
        "",
        "making way",
    ),
    Mutation(
        "V4: what this call has tried already it leaves alone",
        claim.acquire_unclaimed,
        "if parked.event_id not in verb.tried",
        "",
        "making way",
    ),
    Mutation(
        "P13, R1: a claim remembers that it may have arrived",
        outcome.release,
        "ambiguous=claim.ambiguous or verb.ambiguous",
        "ambiguous=claim.ambiguous",
        "hand-over",
    ),
    Mutation(
        "P13, R1: … and an owner that was cut off may have sent it",
        claim._claimed_again,
        "(claim.owner is not None and not own)",
        "False",
        "hand-over",
    ),
    Mutation(
        "L6: what was not tried counts no attempt",
        outcome.release,
        "    if verb.counted:",
        "    if True:",
        "hand-over",
    ),
    Mutation(
        "W7: a sweep's first pass leaves retries for later",
        claim.acquire_unclaimed,
        "if retry is not None and verb.retries:",
        "if retry is not None:",
        "slow owner",
    ),
)
