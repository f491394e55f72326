"""Videos, assessments and what else there is have the promises of articles (I8, E3); over every store."""

from __future__ import annotations

import json
import logging

import attrs
import pytest

from caliper_readtime import Article, EmitterUnavailable, EventRejected, Outcome, Reader
from caliper_readtime._rules.account import recent
from caliper_readtime._rules.reconcile import rebuilt
from caliper_readtime.testing import banked_minutes
from caliper_readtime.testing._strict_schema import envelope_problems
from tests.scenes import ANNA, KINDS, OWLS, Scene, activity, article, events
from tests.unit.builders import EVENTS, Life

kinds = pytest.mark.parametrize("what", KINDS.values(), ids=KINDS)


def told(event):
    """What an event says besides what the profile has a field for."""
    return event.get("extensions", {})


@kinds
def test_a_life(scene: Scene, what):
    """Read, report, lose an answer, send the same bytes again, finalize, bank: as for an article."""
    scene.read(what=what, seconds=61)
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, what)
    scene.read(what=what, seconds=12.5)
    report = scene.tracker.finalize(ANNA, what)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 73.0, [61, 61, 12])
    first, again, last = scene.emitter.events
    assert json.dumps(first) == json.dumps(again)
    assert envelope_problems(events().envelope([first, last], sent_ms=0)) == ()
    ours = {"kind": what.kind, "attempt": what.attempt}
    said = {name: value for name, value in ours.items() if value not in (None, "article")}
    assert told(first) == told(last) == {**said, **what.extensions}
    assert banked_minutes([first, last], events().actor_id("anna"), ["owls"], 9) == {"owls": 2}
    assert scene.state(what=what).finalized_at is not None
    assert scene.state(what="owls").ledger.context.article == what


@kinds
def test_an_id_alone_relies_on_what_is_stored(scene: Scene, what):
    """S15: who reports by ids sends what the page said; on another host, too."""
    scene.read(what=what)
    assert scene.another().partial("anna", "owls").outcome is Outcome.SENT
    assert told(scene.emitter.events[0]).get("kind", "article") == what.kind


@kinds
def test_a_refused_event_of_any_kind_is_parked_and_heals(scene: Scene, what):
    """P4, I7: parked, rebuilt from a corrected context under its old id, with all that the activity says."""
    scene.read(what=what)
    scene.emitter.fail(EventRejected("refused", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, what)
    mended = scene.tracker.partial(Reader("anna", "mended@example.org"), what)
    assert (mended.outcome, scene.sent) == (Outcome.SENT, [30])
    assert told(scene.emitter.events[0]).get("attempt") == what.attempt


@kinds
def test_events_are_built_again_byte_for_byte(what):
    """J2: what a reconciliation sends again says the kind, the attempt and the host's own as the first one did."""
    life, bodies = Life(), []
    for attempt in (what.attempt, 7, what.attempt):
        claim = life.read(20).take(reader=ANNA, article=attrs.evolve(what, attempt=attempt)).claim
        bodies.append(claim.event)
        life.commit(claim)
    assert [rebuilt(EVENTS, life.state, event) for event in recent(life.ledger.account)] == bodies


def test_attempts_share_a_state(scene: Scene):
    """I8: two attempts at an assessment are one resource: one state, one sum; each event says the newest attempt."""
    first, second = (activity("quiz", "assessment", attempt=number) for number in (1, 2))
    scene.read(what=first, seconds=40)
    scene.tracker.finalize(ANNA, first)
    scene.read(what=second, seconds=25)
    scene.tracker.finalize(ANNA, second)
    assert [(told(event)["attempt"], value) for event, value in zip(scene.emitter.events, scene.sent, strict=True)] == [
        (1, 40),
        (2, 25),
    ]
    assert scene.state(what=first) == scene.state(what=second)
    assert len(scene.tracker.states(ANNA)) == 1
    assert banked_minutes(scene.emitter.events, events().actor_id("anna"), ["quiz"], 9) == {"quiz": 2}


def test_attempts_share_a_budget(scene: Scene):
    """I8, B1: two attempts at once are one reader's wall time, paid once."""
    first, second = (activity("quiz", "assessment", attempt=number) for number in (1, 2))
    scene.tracker.accumulate(ANNA, first, 0)
    scene.clock.advance(20)
    accepted = [scene.tracker.accumulate(ANNA, what, 20).accepted_seconds for what in (first, second)]
    assert sum(accepted) <= 20 + 10 + 5


def test_the_explanation_says_what_it_is(scene: Scene):
    """The kind, and that attempts share their time; of a plain article neither."""
    film, plain = activity("film", "video"), article("bees")
    for what in (film, KINDS["assessment"], plain):
        scene.read(what=what)
    assert "It is of the kind video." in str(scene.tracker.explain(ANNA, film))
    assert "It is of the kind assessment, attempt 2; all attempts share this time." in str(
        scene.tracker.explain("anna", "owls")
    )
    assert "of the kind" not in str(scene.tracker.explain(ANNA, plain))


def test_two_kinds_under_one_id_are_told(scene: Scene, caplog):
    """I8: nothing collides in silence: a video with an article's id shares its state, and the log says so."""
    caplog.set_level(logging.WARNING, "caliper_readtime")
    scene.read(what=OWLS, seconds=30)
    assert caplog.records == []
    scene.read(what=activity("owls", "video"), seconds=30)
    (record,) = caplog.records
    assert "one resource id names two kinds of activity" in record.message
    assert (record.reader_sourced_id, record.resource_id, record.kind) == ("anna", "owls", "video")
    assert scene.state().cumulative_read_time_seconds == 60


def test_an_article_and_its_activity_are_no_change(scene: Scene, caplog):
    """A host may pass either form: the stored context is the same, and nothing is written for it."""
    caplog.set_level(logging.WARNING, "caliper_readtime")
    scene.read(what=OWLS)
    before = scene.state().ledger
    scene.read(what=activity("owls", "article"))
    assert scene.state().ledger == before
    assert type(before.context.article) is Article
    assert caplog.records == []
