"""What tests of redaction share: canaries, an ear for all that is logged, and what values and errors show."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import attrs

from caliper_readtime import App, Article, PageView, Reader, ReadTimeError, TimeSpentEvents
from caliper_readtime._logs import logger

MAIL, TOKEN, SECRET, BODY, BUG = (f"canary-{name}-7f3a" for name in ("mail", "token", "secret", "body", "bug"))
CANARIES = (MAIL, TOKEN, SECRET, BODY, BUG)
READER = Reader("u1", f"{MAIL}@example.org")
CORRECTED = Reader("u1", f"{MAIL}.two@example.org")
ARTICLE = Article("nice_x1", "Leaves", "https://app.example.org/leaves")
EVENTS = TimeSpentEvents("https://app.example.org", App("App"), "https://oneroster.example.org")


class Everything(logging.Handler):
    """Keeps every record of every logger, whole."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record):
        text = logging.Formatter("%(message)s").format(record)  # with exception and stack, where there are any
        self.said.append(text + repr({k: v for k, v in vars(record).items() if k not in ("exc_info", "args")}))


@contextmanager
def hearing():
    """All that is logged at DEBUG, by the package and by whatever it calls."""
    handler, root = Everything(), logging.getLogger()
    levels = {one: one.level for one in (root, logger)}
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logger.setLevel(logging.NOTSET)  # whatever another test has left
    try:
        yield handler.said
    finally:
        root.removeHandler(handler)
        for one, level in levels.items():
            one.setLevel(level)


def chain(error):
    """An error and everything that stands behind it, shown in tracebacks or not."""
    found, waiting = [], [error]
    while waiting:
        error = waiting.pop()
        if error is not None and not any(error is known for known in found):
            found.append(error)
            waiting += [error.__cause__, error.__context__]
    return found


def texts(value, stranger=None):
    """All that a value shows of itself when it is printed, and all that its errors say.

    L4: any other exception of an emitter is chained. That very object, the stranger, speaks for itself.
    """
    if isinstance(value, BaseException):
        return [said for error in chain(value) if error is not stranger for said in (repr(error), str(error))]
    shown = [repr(value), str(value), getattr(value, "_repr_html_", str)()]
    inner = value if isinstance(value, tuple) else ()
    if attrs.has(type(value)):
        inner = [getattr(value, attribute.name) for attribute in attrs.fields(type(value))]
    for part in inner:
        if isinstance(part, BaseException | tuple) or attrs.has(type(part)):
            shown += texts(part, stranger)
    return shown


def silent(*shown):
    """No canary sings."""
    for text in shown:
        for canary in CANARIES:
            assert canary not in text


def drive(tracker, clock):
    """Every verb once or more; returns what came back or was raised."""
    seen = []

    def call(verb, *args, **kwargs):
        try:
            seen.append(getattr(tracker, verb)(*args, **kwargs))
        except ReadTimeError as error:
            seen.append(error)

    call("accumulate", READER, ARTICLE, 10.0, heartbeat_id="h", position_seconds=1, duration_seconds=60)
    clock.advance(10)
    call("observe", "u1", "nice_x1", PageView("view", 12.0), opened_at=clock())
    call("accumulate", "u1", "nice_x1", 500.0)
    call("accumulate", "u1", "nice_x1", 1.0, duration_seconds=600)
    for verb in ("partial", "finalize", "unpark"):
        clock.advance(30)
        call("accumulate", CORRECTED, ARTICLE, 20.0)
        call(verb, READER, ARTICLE)
    call("finalize", READER, ARTICLE, defer=True)
    clock.advance(90_000)
    call("accumulate", "u1", "nice_x1", 20.0, position_seconds=59)
    call("sweep", idle_seconds=0)
    call("flush_reader", READER, confirm=True)
    for verb, args in (
        ("state", (READER, ARTICLE)),
        ("states", (READER,)),
        ("parked", ()),
        ("status", ()),
        ("explain", (READER, ARTICLE)),
    ):
        call(verb, *args)
        if verb == "state" and hasattr(seen[-1], "history"):
            seen += [seen[-1].last_error, seen[-1].history, seen[-1].parked]
    call("forget", READER)
    return seen
