"""Logs: the lines, their levels, their fields, and what never stands in them (chapter G)."""

from __future__ import annotations

import logging

import pytest

from caliper_readtime import (
    ContentionError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    MissingField,
    Outcome,
    PageView,
    Reader,
    ReadTimeError,
    StoreUnavailable,
)
from caliper_readtime._logs import log
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import (
    ANNA,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    Scene,
    SelectiveEmitter,
    article,
    everything,
    running,
)

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@pytest.fixture(autouse=True)
def lines(caplog):
    """Every line of the package, from DEBUG on."""
    caplog.set_level(logging.DEBUG, logger="caliper_readtime")
    return caplog


def fields(record):
    """A record's extra fields."""
    return {name: given for name, given in vars(record).items() if name not in _STANDARD}


def said(lines, message):
    """The records whose line begins with the message."""
    return [record for record in lines.records if record.getMessage().startswith(message)]


def only(lines, message, level):
    """The one record that says so, at its level."""
    (record,) = said(lines, message)
    assert record.levelno == level
    return record


def test_the_logger_has_a_null_handler():
    """G1: a host without logging sees nothing on stderr."""
    logger = logging.getLogger("caliper_readtime")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_a_heartbeat_says_its_delta(scene: Scene, lines):
    """G1, G2: ``article accumulate: delta`` (debug), for accumulate and observe, with ids as they are."""
    scene.tracker.accumulate(ANNA, OWLS, 7)
    record = only(lines, "article accumulate: delta", logging.DEBUG)
    assert fields(record).items() >= {"delta": 7.0, "reader_sourced_id": "anna", "resource_id": "owls"}.items()
    scene.clock.advance(5)
    scene.tracker.observe(ANNA, OWLS, PageView("v", 5))
    assert said(lines, "article accumulate: delta")[1].delta == 5.0


def test_every_clamp_is_a_debug_line(scene: Scene, lines):
    """G3: every clamp is a debug line."""
    for _ in range(3):
        scene.tracker.accumulate(ANNA, OWLS, 40)
    records = said(lines, "article accumulate: clamp")
    assert [record.levelno for record in records] == [logging.DEBUG] * 3
    assert [record.clamped for record in records] == [25.0, 40.0, 40.0]


def test_one_clamp_warning_per_state(scene: Scene, lines):
    """G3: one warning per state when its clamped time passes a threshold."""
    for what in (OWLS, article("bees")):
        for _ in range(20):
            scene.tracker.accumulate(ANNA, what, 100)
    warned = [r for r in said(lines, "article accumulate: clamp") if r.levelno == logging.WARNING]
    assert [record.resource_id for record in warned] == ["owls", "bees"]


def test_one_huge_clamp_warns_once(scene: Scene, lines):
    """G3: the first signal may pass the threshold already."""
    for _ in range(3):
        scene.tracker.accumulate(ANNA, OWLS, 100_000)
    levels = [record.levelno for record in said(lines, "article accumulate: clamp")]
    assert (levels.count(logging.WARNING), levels.count(logging.DEBUG)) == (1, 3)


def test_another_duration_is_a_warning(scene: Scene, lines):
    """S11: beyond the tolerance the first one stays, the time is still accepted, and a warning is logged."""
    scene.tracker.accumulate(ANNA, OWLS, 1, duration_seconds=100)
    scene.tracker.accumulate(ANNA, OWLS, 1, duration_seconds=105)
    assert [record for record in lines.records if record.levelno == logging.WARNING] == []
    counted = scene.tracker.accumulate(ANNA, OWLS, 1, duration_seconds=105.001)
    assert counted.accepted_seconds == 1.0
    (record,) = [record for record in lines.records if record.levelno == logging.WARNING]
    assert (record.duration, record.canonical, record.resource_id) == (105.001, 100.0, "owls")


@pytest.mark.parametrize(
    ("verb", "prefix", "sending"),
    [
        ("partial", "article partial finalize", "article partial finalize: sending delta"),
        ("finalize", "article finalize", "article finalize: sending timespent"),
    ],
)
def test_a_report_says_its_steps(scene: Scene, lines, verb, prefix, sending):
    """G1: a report says its steps: sending delta or sending timespent (with its fields), sent, state persisted."""
    scene.read()
    lines.clear()
    report = getattr(scene.tracker, verb)(ANNA, OWLS)
    steps = [sending, f"{prefix}: sent", f"{prefix}: state persisted"]
    assert [record.getMessage().startswith(step) for record, step in zip(lines.records, steps, strict=True)] == [
        True
    ] * 3
    record = only(lines, sending, logging.INFO)
    assert (record.delta, record.resource_id, record.lock) == (30.0, "owls", "acquired")
    assert "delta=30.0" in record.getMessage()
    assert "resource_id=owls" in record.getMessage()
    assert "lock=acquired" in record.getMessage()
    for record in lines.records:
        assert (record.reader_sourced_id, record.event_id) == ("anna", report.event_ids[0])


@pytest.mark.parametrize(
    ("verb", "prefix"), [("partial", "article partial finalize"), ("finalize", "article finalize")]
)
def test_a_lock_that_is_not_acquired_is_a_debug_line(scene: Scene, lines, verb, prefix):
    """G1: a lock that somebody else holds is a debug line."""
    scene.read()
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        getattr(scene.tracker, verb)(ANNA, OWLS)
        gate.open.set()
    record = only(lines, f"{prefix}: lock not acquired", logging.DEBUG)
    assert (record.reader_sourced_id, record.resource_id) == ("anna", "owls")


@pytest.mark.parametrize(
    ("verb", "prefix"), [("partial", "article partial finalize"), ("finalize", "article finalize")]
)
@pytest.mark.parametrize(
    "error",
    [EmitterUnavailable("x"), EndpointRefused("x", status=403), EventRejected("x", status=422), RuntimeError("x")],
)
def test_a_failure_is_an_error_line(scene: Scene, lines, verb, prefix, error):
    """G1: a failure is an error line with the kind of error and the status, and no line says sent."""
    scene.read()
    scene.emitter.fail(error)
    with pytest.raises(ReadTimeError) as raised:
        getattr(scene.tracker, verb)(ANNA, OWLS)
    record = only(lines, f"{prefix}: failed", logging.ERROR)
    assert (record.resource_id, record.delta) == ("owls", 30.0)
    assert (record.error, record.status) == (type(raised.value).__name__, raised.value.status)
    assert said(lines, f"{prefix}: sent") == []
    assert said(lines, f"{prefix}: state persisted") == []


def test_a_failed_completion_is_logged(scene: Scene, lines):
    """S14: a failed emission never fails the heartbeat: logged."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    counted = scene.tracker.accumulate(ANNA, OWLS, 0, position_seconds=9, duration_seconds=9)
    assert counted.report.outcome is Outcome.FAILED
    only(lines, "article finalize: failed", logging.ERROR)


def test_a_lost_claim_is_an_error_line(scene: Scene, lines):
    """K6: a claim that the store has lost is an error line."""

    class Forgetful(RecordingEmitter):
        """While it delivers, the store goes back to an older state, as a fail-over does."""

        def emit(self, events, /):
            super().emit(events)
            scene.store.update(before.key, lambda _state, _now: (before, None), None)

    scene.read()
    before = scene.state()
    scene.use(Forgetful()).partial(ANNA, OWLS)
    (record,) = [r for r in lines.records if "lost the claim" in r.getMessage()]
    assert (record.levelno, record.resource_id) == (logging.ERROR, "owls")


def everything_happens(scene):
    """Run every verb, with every kind of failure."""
    errors = [EmitterUnavailable("x"), EventRejected("x", status=422), EndpointRefused("x"), ContentionError("x")]
    tracker = scene.tracker
    for position, error in enumerate(errors):
        what = article(f"a{position}")
        for send in (tracker.partial, tracker.finalize, tracker.unpark):
            scene.read(ANNA, what)
            scene.emitter.fail(error)
            with pytest.raises(ReadTimeError):
                send(ANNA, what)
        scene.read(ANNA, what)
        scene.emitter.fail(error)
        tracker.flush_reader(ANNA)
        scene.read(BEN, what)
        scene.emitter.fail(error)
        tracker.accumulate(BEN, what, 0, position_seconds=9, duration_seconds=9)
        scene.clock.advance(86_400)
        scene.emitter.fail(error)
        tracker.sweep()
        tracker.accumulate(ANNA, what, 10_000, duration_seconds=50)
        tracker.accumulate(ANNA, what, 10_000, duration_seconds=90)
        tracker.partial(ANNA, what, defer=True)
    tracker.flush_reader(Reader("anna", "corrected@example.org"))
    scene.use(SelectiveEmitter(everything))
    for number in range(12):
        scene.read(Reader(f"r{number}", f"r{number}@example.org"))
    scene.tracker.sweep(idle_seconds=0)
    scene.tracker.forget(ANNA)


def test_fields_stand_in_the_message_and_as_extra(scene: Scene, lines):
    """G1: one line each, the fields both in the message and as `extra`."""
    everything_happens(scene)
    assert len(lines.records) > 100
    for record in lines.records:
        assert record.name == "caliper_readtime"
        assert "\n" not in record.getMessage()
        assert fields(record)
        for name, given in fields(record).items():
            assert f"{name}={given}" in record.getMessage()


def test_e_mails_never_stand_in_a_line(scene: Scene, lines):
    """G2: e-mails never stand in a line, nor in the repr of states, reports and errors."""
    everything_happens(scene)
    formatted = "\n".join(logging.Formatter().format(record) for record in lines.records)
    assert "anna" in formatted
    assert "@" not in formatted
    shown = [*scene.reports, *scene.tracker.states(BEN), *scene.tracker.parked(), *scene.tracker.states("r1"), ANNA]
    assert "@" not in "".join(map(repr, shown))


def test_an_endpoints_words_never_stand_in_a_line(scene: Scene, lines):
    """G2: what an endpoint answers may quote the event, so it is not logged."""
    scene.read()
    body = "anna@example.org is not known"
    scene.emitter.fail(EventRejected(f"422: {body}", status=422, body=body), RuntimeError(body))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.unpark(ANNA, OWLS)
    formatted = "\n".join(logging.Formatter().format(record) for record in lines.records)
    assert "failed" in formatted
    assert "is not known" not in formatted


def test_nothing_is_written_without_a_handler(scene: Scene, capfd):
    """G1: an application that has not configured logging gets no output from errors."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("x"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert capfd.readouterr() == ("", "")


def test_read_back_is_logged_without_bodies(scene: Scene, lines):
    """G2, R1: a claim that read-back settles says so."""
    scene.read()
    recording = RecordingEmitter()
    scene.emitter.inner = recording
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.another(recording).partial(ANNA, OWLS)
    (record,) = [r for r in lines.records if "read-back" in r.getMessage()]
    assert (record.levelno, record.resource_id) == (logging.INFO, "owls")


@pytest.mark.parametrize(
    "odd", ["\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\ufeff", "\n", "\x1b[31m", "\x85", "\ud800"]
)
def test_nothing_breaks_or_reorders_a_line(caplog, odd):
    """G2: separators, overrides of the direction, invisible and control characters of an id are written escaped."""
    with caplog.at_level(logging.INFO, "caliper_readtime"):
        log(logging.INFO, "said", reader_sourced_id=f"a{odd}b", error=ValueError(f"x{odd}y"), count=1)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.isprintable()
    assert line.startswith("said reader_sourced_id=a\\")
    assert (record.reader_sourced_id.isprintable(), record.count) == (True, 1)
    assert len(line.splitlines()) == 1


def test_a_clamp_says_what_was_claimed_and_allowed(scene: Scene, lines):
    """G3: claimed, allowed and elapsed: 40 s were claimed 10 s after the first signal, which left 5 s of leeway."""
    scene.tracker.accumulate(ANNA, OWLS, 10)
    scene.clock.advance(10)
    scene.tracker.accumulate(ANNA, OWLS, 40)
    (record,) = said(lines, "article accumulate: clamp")
    assert (record.claimed, record.allowed, record.elapsed, record.clamped) == (40.0, 15.0, 10.0, 25.0)


def test_an_id_of_which_nothing_is_stored_is_an_error_line(scene: Scene, lines):
    """G1: nothing can be built of an id alone: one error line, which names what is missing."""
    with pytest.raises(MissingField):
        scene.tracker.accumulate("anna", OWLS, 10)
    (record,) = [record for record in lines.records if record.levelno == logging.ERROR]
    assert (record.missing, record.reader_sourced_id) == ("reader", "anna")


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("article accumulate", lambda tracker: tracker.accumulate(ANNA, OWLS, 10)),
        ("article partial finalize", lambda tracker: tracker.partial(ANNA, OWLS)),
        ("article partial finalize", lambda tracker: tracker.partial(ANNA, OWLS, defer=True)),
        ("article finalize", lambda tracker: tracker.finalize(ANNA, OWLS)),
        ("article flush", lambda tracker: tracker.flush_reader(ANNA)),
        ("article sweep", lambda tracker: tracker.sweep()),
        ("article unpark", lambda tracker: tracker.unpark(ANNA, OWLS)),
        ("article forget", lambda tracker: tracker.forget(ANNA)),
    ],
)
def test_a_store_that_is_away_is_one_error_line(memory_scene: Scene, lines, monkeypatch, verb, call):
    """G1: every verb says so, once a minute, however often it is called."""
    memory_scene.read(ANNA)

    def away(*_args, **_more):
        raise StoreUnavailable("no answer")

    for name in ("update", "keys", "delete", "due"):
        monkeypatch.setattr(memory_scene.store, name, away)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            call(memory_scene.tracker)
    (record,) = [record for record in lines.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith(f"{verb}: failed, the store is away")
