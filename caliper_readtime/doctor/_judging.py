"""PURE: judges what was found of stores, clocks, the lease, the endpoint and the last sweep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._inspection import SWEEP_SECONDS
from caliper_readtime._units import plural
from caliper_readtime.doctor._findings import Finding, error, ok, warn
from caliper_readtime.errors import EndpointRefused, EventRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Facts = Mapping[str, Any]
    from datetime import datetime

#: Oldest Redis whose commands the scripts need.
OLDEST_REDIS: Final = (6, 2)
#: Share of maxmemory from which it is time to act.
FULL: Final = 0.9
#: Longest time that a request handler should hang on a dead server, in seconds.
LONGEST_TIMEOUT_SECONDS: Final = 10.0
#: Free disk, in bytes, below which SQLite is about to fail, and below which it is worth a look.
DISK_FULL: Final = 64 * 2**20
DISK_SCARCE: Final = 512 * 2**20


def judge(name: str, facts: Facts) -> list[Finding]:
    """Return what is to be said of one file or server.

    Args:
        name: what an operator calls it.
        facts: as ``DescribesItself.info`` gives them; what is missing is not judged, or said to be unknown.
    """
    checks = _CHECKS.get(str(facts.get("kind")))
    if checks is None:
        return [ok("store.unknown", f"{name}: there are no checks for this kind of store")]
    return [finding for check in checks for finding in check(name, facts)]


def _memory(name: str, _: Facts) -> Iterator[Finding]:
    yield warn(
        "memory.volatile",
        f"{name}: every state dies with its process, and no other process sees it",
        "for anything but tests and notebooks use SqliteStateStore or RedisStateStore",
    )


# SQLite


def _file(name: str, facts: Facts) -> Iterator[Finding]:
    if not facts.get("exists", True):
        yield error(
            "sqlite.file", f"{name}: the file is not there", "look who has removed it; restore it from a backup"
        )
    elif not facts.get("writable", True):
        yield error("sqlite.file", f"{name}: this user cannot write it", "let it write the file and its directory")
    else:
        yield ok("sqlite.file", f"{name}: is there, and can be written")


def _rights(name: str, facts: Facts) -> Iterator[Finding]:
    others = facts.get("readable_by_others")
    if others:
        yield warn(
            "sqlite.rights",
            f"{name}: others on this machine may read or write {', '.join(others)}: e-mail addresses stand there",
            "chmod 600, or make sure that only those who may know are in its group",
        )
    elif others is not None:
        yield ok("sqlite.rights", f"{name}: for its own user only")


def _journal(name: str, facts: Facts) -> Iterator[Finding]:
    mode = facts.get("journal_mode")
    if mode is not None and mode != "wal":
        yield error(
            "sqlite.wal",
            f"{name}: its journal mode is {mode}, not wal",
            "keep it on a local disk: network file systems cannot do WAL, and lose claims",
        )
    elif mode is not None:
        yield ok("sqlite.wal", f"{name}: WAL")


def _disk(name: str, facts: Facts) -> Iterator[Finding]:
    free = facts.get("free_bytes")
    if free is None:
        return
    text = f"{name}: {free // 2**20} MiB are free on its disk"
    if free < DISK_FULL:
        yield error("sqlite.disk", text, "make room now: with a full disk no reader's time is accepted")
    elif free < DISK_SCARCE:
        yield warn("sqlite.disk", text, "make room: with a full disk no reader's time is accepted")
    else:
        yield ok("sqlite.disk", text)


# A database of the host's project


def _durable(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("durable", True):
        yield ok("database.durable", f"{name}: claims wait for the disk")
    else:
        yield error(
            "database.durable",
            f"{name}: commits do not wait for the disk: a crash could send the same seconds under another id",
            "PostgreSQL: fsync and synchronous_commit on; SQLite: PRAGMA synchronous FULL",
        )


def _writable(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("writable", True):
        yield ok("database.writable", f"{name}: it can be written")
    else:
        yield error("database.writable", f"{name}: it cannot be written", "point the project at the primary")


def _locks(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("locks", True):
        yield ok("database.locks", f"{name}: writers wait for each other")
    else:
        yield warn(
            "database.locks",
            f"{name}: SQLite locks it too late, so writers fail where they meet",
            'set OPTIONS {"transaction_mode": "IMMEDIATE"} in DATABASES',
        )


# Redis and Valkey


def _version(name: str, facts: Facts) -> Iterator[Finding]:
    version = str(facts.get("redis_version", "unknown"))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    text = f"{name}: version {version}"
    if numbers and numbers < OLDEST_REDIS:
        yield error("redis.version", text, "6.2 or newer is needed: upgrade the server")
    elif numbers:
        yield ok("redis.version", text)


def _role(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("loading"):
        yield error("redis.loading", f"{name}: it is loading its data", "wait until it has")
    if facts.get("role", "master") != "master":
        yield error(
            "redis.role", f"{name}: it is a replica, and cannot be written", "point the URL at the master, or Sentinel"
        )


def _eviction(name: str, facts: Facts) -> Iterator[Finding]:
    policy = facts.get("maxmemory_policy")
    if policy is None:
        yield warn("redis.eviction", f"{name}: its eviction policy is not known", "make sure that it is noeviction")
    elif policy != "noeviction":
        yield error(
            "redis.eviction",
            f"{name}: maxmemory-policy is {policy}: once its memory is full it throws readers' time away",
            "set maxmemory-policy noeviction, or use a server of its own",
        )
    else:
        yield ok("redis.eviction", f"{name}: nothing is evicted")


def _memory_left(name: str, facts: Facts) -> Iterator[Finding]:
    most, used = facts.get("maxmemory") or 0, facts.get("used_memory") or 0
    if most and used >= FULL * most:
        yield warn(
            "redis.memory",
            f"{name}: {used / most:.0%} of maxmemory are in use",
            "give it more: when it is full no reader's time is accepted",
        )


def _persistence(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("aof_enabled") is None:
        yield warn(
            "redis.persistence",
            f"{name}: it is not known whether it writes to a disk",
            "allow INFO, or make sure that it has an append-only file",
        )
        return
    if facts["aof_enabled"]:
        if facts.get("aof_last_write_status", "ok") != "ok":
            yield error("redis.persistence", f"{name}: its last write to the disk failed", "look at its disk and log")
        else:
            yield ok("redis.persistence", f"{name}: append-only file")
        return
    if facts.get("claim_fsync"):
        yield error(
            "redis.persistence",
            f"{name}: claims wait for the disk (claim_fsync), but there is no append-only file: nothing can be sent",
            "set appendonly yes, or claim_fsync to false",
        )
    elif facts.get("rdb_last_bgsave_status", "ok") != "ok":
        yield error("redis.persistence", f"{name}: its last snapshot failed", "look at its disk and log")
    elif facts.get("save") == "":
        yield error(
            "redis.persistence",
            f"{name}: nothing is written to a disk: a restart loses every second that was not reported",
            "set appendonly yes",
        )
    else:
        yield warn(
            "redis.persistence",
            f"{name}: no append-only file: a crash loses what came since the last snapshot, if there are any",
            "set appendonly yes",
        )


def _replication(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.get("connected_slaves") is None:
        return
    # Listed as slave0, slave1 …; one that is still being synchronised acknowledges nothing.
    listed = [value for key, value in facts.items() if re.fullmatch(r"slave\d+", key) and isinstance(value, dict)]
    replicas = sum(one.get("state") == "online" for one in listed) if listed else int(facts["connected_slaves"])
    wanted = facts.get("claim_replicas", 0)
    text = f"{name}: {plural(replicas, 'replica')}, and a claim waits for {wanted}"
    if wanted > replicas:
        yield error("redis.replication", text, "nothing can be sent: bring replicas back, or lower claim_replicas")
    elif replicas and not wanted:
        yield warn(
            "redis.replication",
            text,
            "a fail-over can lose a claim whose event was sent, and its seconds are sent again: set claim_replicas",
        )
    else:
        yield ok("redis.replication", text)


def _timeouts(name: str, facts: Facts) -> Iterator[Finding]:
    if "socket_timeout" not in facts:
        return
    waits = {key: facts.get(key) for key in ("socket_timeout", "socket_connect_timeout")}
    text = f"{name}: " + ", ".join(
        f"{key} {'none' if value is None else f'{value:g} s'}" for key, value in waits.items()
    )
    longest = max((value for value in waits.values() if value is not None), default=0.0)
    if None in waits.values():
        yield error(
            "redis.timeouts",
            text,
            "a server that hangs would block a worker for good: give the client both, such as 2 and 1 seconds",
        )
    elif facts.get("claim_replicas") or facts.get("claim_fsync"):
        patience = facts.get("claim_wait_seconds", 0.0)
        if patience >= waits["socket_timeout"]:
            yield error(
                "redis.timeouts",
                f"{text}, but a claim waits {patience:g} s for replicas or the disk",
                "make claim_wait_seconds shorter than socket_timeout",
            )
        else:
            yield ok("redis.timeouts", text)
    elif longest > LONGEST_TIMEOUT_SECONDS:
        yield warn("redis.timeouts", text, "a server that hangs blocks each worker for so long: 2 seconds are plenty")
    else:
        yield ok("redis.timeouts", text)


_CHECKS: Final[dict[str, tuple[Callable[[str, Facts], Iterator[Finding]], ...]]] = {
    "memory": (_memory,),
    "sqlite": (_file, _rights, _journal, _disk),
    "database": (_durable, _writable, _locks),
    "redis": (_version, _role, _eviction, _memory_left, _persistence, _replication, _timeouts),
}


#: Clocks may differ by so many seconds before it is worth a look.
SKEW_SECONDS: Final = 2.0
#: Part of the lease that should be left when an emission has used its whole deadline.
SPARE: Final = 0.1
#: Without a sweep for this many seconds time piles up.
SWEEP_LONG_SECONDS: Final = 3600.0

# Answers of an endpoint that is there, and takes these credentials as far as it looked, but cannot validate.
_CANNOT_VALIDATE: Final = (404, 405, 501)


def judge_skew(name: str, seconds: float) -> Finding:
    """Judge by how much a server's clock is ahead of (or, negative, behind) this host's."""
    text = f"{name}: its clock is within {SKEW_SECONDS:g} s of this host's"
    if abs(seconds) <= SKEW_SECONDS:
        return ok("clock.skew", text)
    way = "ahead of" if seconds > 0 else "behind"
    return warn(
        "clock.skew",
        f"{name}: its clock is {abs(seconds):.1f} s {way} this host's",
        "let NTP keep both: readers' time goes by the store's clock, logs and envelopes by the host's",
    )


def judge_lease(deadline_seconds: float | None, lock_seconds: float) -> Finding:
    """Judge whether an emission surely ends within a claim's lease."""
    if deadline_seconds is None:
        return warn(
            "emitter.deadline",
            "the emitter states no deadline: one that takes longer than the lease is sent by two owners",
            f"over a network, give it a deadline_seconds below the policy's lock_seconds ({lock_seconds:g} s); a file"
            " needs none",
        )
    text = f"an emission takes at most {deadline_seconds:g} s, a claim's lease {lock_seconds:g} s"
    if deadline_seconds > (1 - SPARE) * lock_seconds:
        return warn("emitter.deadline", text, "leave more room: late emissions are put off to the next sweep")
    return ok("emitter.deadline", text)


def judge_validation(name: str, problem: Exception | None) -> Finding:
    """Judge what became of an example event at the endpoint's validation."""
    check = "endpoint.validate"
    if problem is None:
        return ok(check, f"{name}: answers, takes these credentials and our events")
    status = getattr(problem, "status", None)
    if isinstance(problem, EventRejected):
        return warn(
            check,
            f"{name}: answers and takes these credentials, but would not take an example event: {problem}",
            "compare sensor, app and OneRoster URL with what the endpoint expects; it may also know no such example",
        )
    if isinstance(problem, EndpointRefused) and status in _CANNOT_VALIDATE:
        return warn(
            check,
            f"{name}: answers, but has no …/validate ({status}), so URL and credentials are not proved",
            "look at the endpoint's path, and whether the next sweep sends",
        )
    if isinstance(problem, EndpointRefused):
        return error(check, str(problem), "correct URL or credentials; nothing is lost meanwhile")
    return error(check, str(problem), "look at the endpoint and the network; nothing is lost meanwhile")


def judge_unsent(asked: int, held: int) -> Finding:
    """Judge how many of the events that the store takes for unsent the endpoint holds all the same."""
    text = f"the endpoint holds {held} of {plural(asked, 'event')} waiting to be sent again"
    if not held:
        return ok("store.older", text)
    return warn(
        "store.older",
        f"{text}: answers were lost, or the store is a restored copy that is older than what the endpoint holds",
        "after a restore use an emitter with read_back, so that they are asked for first, and compare each reader's"
        " account by `caliper-readtime audit`: what was claimed after the copy was made goes out under new ids",
    )


def judge_last_sweep(last: datetime | None, now: datetime) -> Finding:
    """Judge whether somebody comes back for what browsers and workers left behind."""
    hint = "run the command `sweep` every minute, or a Sweeper in the application"
    if last is None:
        return warn("sweep.last", "no sweep has ever run", hint)
    age = (now - last).total_seconds()
    text = f"the last sweep ran {age:.0f} s ago"
    if age > SWEEP_LONG_SECONDS:
        return error("sweep.last", text, hint)
    return warn("sweep.last", text, hint) if age > SWEEP_SECONDS else ok("sweep.last", text)
