"""``forget`` (X4, X5)."""

from __future__ import annotations

import pytest

from caliper_readtime import EventRejected, MissingField, Outcome, ReadTimePolicy
from tests.scenes import ANNA, BEES, BEN, OWLS, ROSTER, Hooked, Scene, article, value


def test_everything_of_a_reader_goes(scene: Scene):
    """X4: states, due and reader entries go; the answer is how many states; others stay."""
    for reader, what in ((ANNA, OWLS), (ANNA, BEES), (BEN, OWLS)):
        scene.read(reader, what)
    assert scene.tracker.forget(ANNA) == 2
    assert scene.tracker.states(ANNA) == ()
    assert scene.tracker.state(ANNA, OWLS) is None
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 1
    assert scene.emitter.seconds(BEN, OWLS) == 30.0


def test_forgetting_twice_or_somebody_unknown_is_harmless(scene: Scene):
    """X4: repeated until the reader's set is empty, and 0 where it was."""
    scene.read()
    assert [scene.tracker.forget("anna"), scene.tracker.forget("anna"), scene.tracker.forget("nobody")] == [1, 0, 0]


def test_a_url_names_the_same_reader(scene: Scene):
    """I1: a reader's URL and id are one."""
    scene.read()
    assert scene.tracker.forget(f"{ROSTER}/ims/oneroster/rostering/v1p2/users/anna") == 1


def test_parked_events_go_too(scene: Scene):
    """X4: parked events hold an e-mail, so they go as well."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.tracker.forget(ANNA)
    assert scene.tracker.parked() == ()
    scene.clock.advance(2 * 86_400)
    assert scene.tracker.sweep().reports == ()


def test_a_string_is_not_enough_afterwards(scene: Scene):
    """X5: the context is gone, so an open page's heartbeat by id needs the objects again."""
    scene.read()
    scene.tracker.forget(ANNA)
    with pytest.raises(MissingField):
        scene.tracker.accumulate("anna", "owls", 10)


@pytest.mark.parametrize("after", [False, True], ids=["before it arrives", "after it arrives"])
def test_an_emission_under_way_still_arrives_and_its_commit_is_a_no_op(scene: Scene, after):
    """X5, K4: an emission under way still arrives, its commit is a no-op, and never recreates a state."""
    scene.read()
    emitter = Hooked(lambda: scene.tracker.forget(ANNA), after=after)
    report = scene.use(emitter).finalize(ANNA, OWLS)
    assert [value(event) for event in emitter.events] == [30]
    assert (report.outcome, report.delta_seconds, report.state) == (Outcome.NOTHING_TO_SEND, 0.0, None)
    assert scene.tracker.states(ANNA) == ()


def test_a_commit_does_not_touch_a_rebirth(scene: Scene):
    """K4: the generation is checked: after forget, expiry or rebirth a commit is a no-op."""
    scene.read(seconds=30)

    def reborn():
        scene.tracker.forget(ANNA)
        scene.read(seconds=12)

    scene.use(Hooked(reborn)).partial(ANNA, OWLS)
    assert scene.sent == [30]
    assert (scene.state().reported_read_time_seconds, scene.state().unreported_seconds) == (0.0, 12.0)


def test_a_new_life_has_new_event_ids(scene: Scene):
    """I5: the same range of another life is another event."""
    for _ in range(2):
        scene.read(seconds=30)
        scene.tracker.partial(ANNA, OWLS)
        scene.tracker.forget(ANNA)
    first, second = scene.emitter.events
    assert value(first) == value(second)
    assert first["id"] != second["id"]
    assert first["generated"]["id"] != second["generated"]["id"]


def test_expiry_is_a_rebirth_too(scene: Scene):
    """X1, X3: with nothing whole, claimed or parked it is gone after state_ttl, and born anew."""
    scene.use(policy=ReadTimePolicy(state_ttl_seconds=3600))
    scene.read(seconds=30)
    scene.tracker.finalize(ANNA, OWLS)
    scene.clock.advance(3599.999)
    assert scene.state() is not None
    scene.clock.advance(0.001)
    assert scene.state() is None
    scene.read(seconds=30)
    assert scene.state().finalized_at is None
    scene.tracker.finalize(ANNA, OWLS)
    assert len({event["id"] for event in scene.emitter.events}) == 2


def test_unreported_time_never_expires(scene: Scene):
    """X1: a year later the time is still there and is sent."""
    scene.use(policy=ReadTimePolicy(state_ttl_seconds=3600))
    scene.read(ANNA, article("old"), 1.5)
    scene.clock.advance(365 * 86_400)
    assert scene.tracker.sweep().seconds_sent == 1.0
