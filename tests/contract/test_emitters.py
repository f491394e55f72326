"""The emitter contract, kept by every emitter of the package."""

import json
import socket
from contextlib import closing

import pytest

from caliper_readtime import EventRejected, HttpCaliperEmitter, JsonLinesEmitter
from caliper_readtime.testing import CaliperEndpoint, FlakyEmitter, RecordingEmitter
from caliper_readtime.testing._emitter_contract import SENSOR, EmitterContract
from caliper_readtime.testing.behaviours import Answer, Conflict, Reject


class TestHttpCaliperEmitter(EmitterContract):
    """HTTP, against the strict loopback endpoint."""

    @pytest.fixture
    def endpoint(self):
        with CaliperEndpoint() as endpoint:
            yield endpoint

    @pytest.fixture
    def emitter(self, endpoint):
        with closing(HttpCaliperEmitter(endpoint.url)) as emitter:
            yield emitter

    @pytest.fixture
    def accepted(self, endpoint):
        return lambda: endpoint.events

    @pytest.fixture
    def rejecting(self, endpoint):
        endpoint.misbehave_always(Reject(lambda _: True))
        return HttpCaliperEmitter(endpoint.url, sensor=SENSOR)

    @pytest.fixture
    def unavailable(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/caliper/event"
            yield HttpCaliperEmitter(url, timeout=0.1, attempts=2, deadline_seconds=1.0)


class TestHttpCaliperEmitterBehindConflicts(TestHttpCaliperEmitter):
    """The same where the endpoint answers 409 to every event that it holds."""

    @pytest.fixture
    def endpoint(self):
        with CaliperEndpoint() as endpoint:
            endpoint.misbehave_always(Conflict())
            yield endpoint

    @pytest.fixture
    def unavailable(self, endpoint):
        endpoint.misbehave_always(Answer(503))
        return HttpCaliperEmitter(endpoint.url, attempts=2, deadline_seconds=1.0)


class TestJsonLinesEmitter(EmitterContract):
    """A file; it refuses nothing."""

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "events.jsonl"

    @pytest.fixture
    def emitter(self, path):
        return JsonLinesEmitter(path, fsync=False)

    @pytest.fixture
    def accepted(self, path):
        def read():
            if not path.exists():
                return []
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

        return read

    @pytest.fixture
    def unavailable(self, tmp_path):
        return JsonLinesEmitter(tmp_path / "missing" / "events.jsonl")


class TestRecordingEmitter(EmitterContract):
    """The stand-in for hosts' tests keeps the same rules as what it stands for."""

    @pytest.fixture
    def emitter(self):
        return RecordingEmitter()

    @pytest.fixture
    def accepted(self, emitter):
        return lambda: emitter.events


class SelectiveEmitter(RecordingEmitter):
    def emit(self, events, /):
        raise EventRejected("no", event_ids=[event["id"] for event in events])


class TestFlakyEmitter(EmitterContract):
    """So does the one that fails on command, as long as it is not told to."""

    @pytest.fixture
    def emitter(self):
        return FlakyEmitter()

    @pytest.fixture
    def accepted(self, emitter):
        return lambda: emitter.events

    @pytest.fixture
    def rejecting(self):
        return FlakyEmitter(SelectiveEmitter())
