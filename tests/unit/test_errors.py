"""The tree of errors, and that each carries its data."""

from __future__ import annotations

import copy
import pickle

import pytest

from caliper_readtime import InMemoryStateStore, errors
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, BEN, OWLS, Scene

TREE = {
    "ReadTimeError": "Exception",
    "InvalidInput": "ReadTimeError ValueError",
    "MissingField": "InvalidInput",
    "ConfigurationError": "ReadTimeError",
    "StoreError": "ReadTimeError",
    "StoreUnavailable": "StoreError",
    "ContentionError": "StoreError",
    "CorruptState": "StoreError",
    "EmitError": "ReadTimeError",
    "EmitterUnavailable": "EmitError",
    "EndpointRefused": "EmitterUnavailable",
    "EventRejected": "EmitError",
}


def test_the_tree_of_errors():
    """All errors stand under ReadTimeError, as drawn."""
    assert {
        name: " ".join(base.__name__ for base in getattr(errors, name).__bases__) for name in errors.__all__
    } == TREE
    assert all(name in errors.__doc__ for name in TREE)


RAISED = [
    errors.ReadTimeError("m"),
    errors.InvalidInput("field", "problem"),
    errors.MissingField("field", "problem"),
    errors.ConfigurationError("m"),
    errors.StoreError("m"),
    errors.StoreUnavailable("m", reader_sourced_id="u1", resource_id="r1"),
    errors.ContentionError("m", reader_sourced_id="u1"),
    errors.CorruptState("m", resource_id="r1"),
    errors.EmitError("m"),
    errors.EmitError("m", event_ids=["a", "b"], status=500),
    errors.EmitterUnavailable("m", event_ids=("a",), status=503, retry_after_seconds=2.5),
    errors.EndpointRefused("m", event_ids=("a",), status=401, retry_after_seconds=None),
    errors.EventRejected("m", event_ids=("a",), status=422, body="no"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_errors_carry_their_data_and_travel(error):
    """Each error carries its data, also through pickle (process pools) and copies."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is type(error)
        assert (vars(again), again.args, str(again)) == (vars(error), error.args, str(error))
    assert str(error) == ("field: problem" if isinstance(error, errors.InvalidInput) else "m")


def test_emit_errors_are_made_as_third_parties_make_them():
    """``EmitError(message, *, event_ids=(), status=None)``, and what its kinds add."""
    assert vars(errors.EmitError("m")) == {"event_ids": (), "status": None}
    assert errors.EmitError("m", event_ids=iter(["a"])).event_ids == ("a",)
    assert errors.EmitterUnavailable("m").retry_after_seconds is None
    assert errors.EndpointRefused("m", retry_after_seconds=3).retry_after_seconds == 3
    assert errors.EventRejected("m").body is None
    for kind in (errors.EmitError, errors.EmitterUnavailable, errors.EndpointRefused, errors.EventRejected):
        with pytest.raises(TypeError):
            kind("m", ("a",))


class Closed(errors.EmitterUnavailable):
    """An emitter's own, which calls no other class's ``__init__``."""

    def __init__(self):
        Exception.__init__(self, "closed")


class Wrong(errors.EndpointRefused):
    """Likewise."""

    def __init__(self):
        Exception.__init__(self, "wrong")


class Unfit(errors.EventRejected):
    """Likewise."""

    def __init__(self):
        Exception.__init__(self, "unfit")


@pytest.mark.parametrize("error", [Closed, Wrong, Unfit])
def test_errors_of_somebody_elses_emitter_need_no_more_than_their_class(error):
    """L4: an emitter's own subclass that sets nothing is raised as it is, and a sweep goes on to its end."""
    scene = Scene(InMemoryStateStore)
    scene.use(FailsWith(error))
    scene.read()
    with pytest.raises(error):
        scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(3600)
    scene.read(BEN)
    scene.tracker.sweep(idle_seconds=0)
    assert scene.state(BEN).last_error is not None


class FailsWith(RecordingEmitter):
    """Raises that, always."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, _events, /):
        raise self.error
