"""``status`` and ``doctor``: whether all is well, for people, health checks and Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime._cli.session import (
    OK,
    UNHEALTHY,
    USAGE,
    CommandError,
    add_json,
    positive_seconds,
    seconds,
    whole,
)
from caliper_readtime._cli.signals import Signals
from caliper_readtime._units import plural
from caliper_readtime.doctor import Level, examine
from caliper_readtime.errors import StoreError

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._sweeper import Stop

#: How long ``--watch`` waits between two looks, where nothing else is said.
WATCH_SECONDS: Final = 5.0
_HELP: Final = {
    "unreported_states": "States with a whole second that was not reported.",
    "unreported_seconds": "Accepted seconds that were not reported.",
    "oldest_unreported_at": "Since when the oldest unreported time has been waiting.",
    "parked_events": "Events that the endpoint refused, set aside.",
    "last_sweep_at": "When a sweep last ran.",
    "doubtful_claims": "Claims too old for an endpoint to know their event ids for sure.",
    "beside_seconds": "Seconds of these states that were read beside another article.",
    "skimmed_states": "States whose end was reached sooner than reading or watching takes.",
}


def add(add_command: Add) -> None:
    """Add the commands."""
    _add_doctor(add_command)
    parser = add_command("status", "tell how much is unreported; exit 3 beyond a threshold", run)
    parser.add_argument("--max-age", type=seconds, metavar="SECONDS", help="how long time may wait to be reported")
    parser.add_argument("--max-states", type=whole, metavar="N", help="most states with unreported time")
    parser.add_argument("--max-parked", type=whole, metavar="N", help="most parked events")
    parser.add_argument("--max-sweep-age", type=seconds, metavar="SECONDS", help="how long ago the last sweep may be")
    parser.add_argument(
        "--watch",
        type=positive_seconds,
        nargs="?",
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help=f"look again and again, with this much time between ({WATCH_SECONDS:g}), until Ctrl-C or SIGTERM",
    )
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--openmetrics", action="store_true", help="answer in OpenMetrics text, for Prometheus")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Tell the status, once or again and again."""
    if arguments.watch is None:
        return _tell(arguments, session)
    if arguments.openmetrics:
        raise CommandError("--watch goes with a table or --json, not with --openmetrics", USAGE)
    with Signals() as stop:
        watch(arguments, session, stop)
    return OK


def watch(arguments: argparse.Namespace, session: Session, stop: Stop) -> None:
    """Tell the status until told to stop; a store that is away is said, and asked again."""
    before: dict[str, Any] = {}
    head: tuple[Any, ...] = ("status", "now", "change")
    rows: list[tuple[Any, ...]] = []
    with session.output.live() as show:
        while not stop.is_set():
            try:
                values, now, notes = _look(arguments, session)
            except StoreError as error:
                values, now, notes = {}, None, [f"{error}; looking again in {arguments.watch:g} s"]
            if arguments.json:
                session.output.json({**values, "at": now, "exceeded": notes} if values else {"error": notes[0]})
            else:
                if values:
                    head = ("status", now, "change")
                    rows = [(_name(name), value, _change(before.get(name), value)) for name, value in values.items()]
                show(head, rows, notes)
            before = values or before
            stop.wait(arguments.watch)


def _name(field: str) -> str:
    return field.replace("_", " ")


def _change(before: Any, value: Any) -> str:
    if isinstance(value, datetime) or before is None or value == before:
        return ""
    return f"{value - before:+g}"


def _look(arguments: argparse.Namespace, session: Session) -> tuple[dict[str, Any], datetime, list[str]]:
    """Return the status, the time that decides, and which thresholds are exceeded."""
    status, now = session.tracker.status(), session.tracker.now()
    values = {field.name: getattr(status, field.name) for field in attrs.fields(type(status))}
    wrong = exceeded(
        values,
        now,
        max_age=arguments.max_age,
        max_states=arguments.max_states,
        max_parked=arguments.max_parked,
        max_sweep_age=arguments.max_sweep_age,
    )
    return values, now, wrong


def _tell(arguments: argparse.Namespace, session: Session) -> int:
    """Tell the status once, and complain of every threshold that is exceeded."""
    values, now, wrong = _look(arguments, session)
    if arguments.openmetrics:
        session.output.raw(openmetrics(values))
    elif arguments.json:
        session.output.json({**values, "at": now, "exceeded": wrong})
    else:
        session.output.facts({_name(name): value for name, value in values.items()})
    if wrong:
        session.output.complain("; ".join(wrong))
    return UNHEALTHY if wrong else OK


def exceeded(
    values: dict[str, Any],
    now: datetime,
    *,
    max_age: float | None = None,
    max_states: int | None = None,
    max_parked: int | None = None,
    max_sweep_age: float | None = None,
) -> list[str]:
    """Return in words which thresholds are exceeded.

    Args:
        values: the fields of a ``Status``.
        now: by the clock that decides.
        max_age: of the oldest unreported time, in seconds.
        max_states: with unreported time.
        max_parked: events.
        max_sweep_age: in seconds; without any sweep it is exceeded.
    """
    wrong = []
    oldest, swept = values["oldest_unreported_at"], values["last_sweep_at"]
    age = 0.0 if oldest is None else (now - oldest).total_seconds()
    if max_age is not None and age > max_age:
        wrong.append(f"time has been unreported for {age:.0f} s (at most {max_age:g}): look at the endpoint")
    if max_states is not None and values["unreported_states"] > max_states:
        wrong.append(f"{plural(values['unreported_states'], 'state')} with unreported time (at most {max_states})")
    if max_parked is not None and values["parked_events"] > max_parked:
        wrong.append(f"{plural(values['parked_events'], 'parked event')} (at most {max_parked}): see `parked list`")
    if max_sweep_age is not None:
        since = None if swept is None else (now - swept).total_seconds()
        if since is None or since > max_sweep_age:
            last = "no sweep has ever run" if since is None else f"the last sweep ran {since:.0f} s ago"
            wrong.append(f"{last} (at most {max_sweep_age:g}): check that the sweeper runs")
    return wrong


def openmetrics(values: dict[str, Any]) -> str:
    """Return a status in OpenMetrics text: every number a gauge, every time one in seconds since the epoch.

    Args:
        values: the fields of a ``Status``; one that is None is left out.
    """
    lines = []
    for field, value in values.items():
        number = value.timestamp() if isinstance(value, datetime) else value
        if number is None or not isinstance(number, int | float):
            continue
        ending = "_timestamp_seconds" if isinstance(value, datetime) else ""
        name = f"caliper_readtime_{field.removesuffix('_at') if ending else field}{ending}"
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {_HELP.get(field, field.replace('_', ' '))}"]
        lines.append(f"{name} {number}")
    return "\n".join([*lines, "# EOF", ""])


def _add_doctor(add_command: Add) -> None:
    """Add the command."""
    parser = add_command("doctor", "check store, clock, endpoint and sweeper; exit 3 on an error", doctor, sends=True)
    parser.add_argument("--strict", action="store_true", help="exit 3 on a warning as well")
    add_json(parser)


def doctor(arguments: argparse.Namespace, session: Session) -> int:
    """Show every finding."""
    findings = (*examine(session.tracker), *(check() for check in session.checks))
    if arguments.json:
        session.output.json(findings)
    else:
        rows = [(found.level, found.id, found.text, found.hint or None) for found in findings]
        session.output.table(("level", "check", "what is the case", "what to do"), rows)
    bad = (Level.ERROR, Level.WARN) if arguments.strict else (Level.ERROR,)
    return UNHEALTHY if any(found.level in bad for found in findings) else OK
