"""Settings: one mapping or the environment becomes a ready tracker."""

from __future__ import annotations

import json
import operator
import os
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from caliper_readtime import (
    ConfigurationError,
    HttpCaliperEmitter,
    InMemoryStateStore,
    JsonLinesEmitter,
    Outcome,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
)
from caliper_readtime._settings import TABLE, Settings
from caliper_readtime.testing import CaliperEndpoint, ManualClock, RecordingEmitter
from tests.scenes import ANNA, OWLS, events

FILES = Path("/proc/self/fd")
PREFIX = "CALIPER_READTIME_"
SECRET = "hunter2-do-not-show"  # noqa: S105 - a canary
REQUIRED = {
    "STORE_URL": "memory://",
    "ENDPOINT": "http://127.0.0.1:9/caliper/event",
    "ONEROSTER_URL": "https://roster.example.org",
    "SENSOR": "https://reader.example.org",
    "APP_NAME": "Example Reader",
}


def environment(**more):
    """An environment with everything that is required, amid what others put there."""
    return {"PATH": "/bin", "READTIME": "1"} | {
        f"{PREFIX}{name}": value for name, value in (REQUIRED | more).items() if value is not None
    }


def parts(tracker):
    """The store, emitter and builder of a tracker."""
    return tracker.store, tracker.emitter, tracker.events


def test_the_environment_makes_a_tracker():
    """from_env: five variables are enough; others' variables are left alone."""
    with ReadTimeTracker.from_env(environment()) as tracker:
        store, emitter, builder = parts(tracker)
        assert isinstance(store, InMemoryStateStore)
        assert isinstance(emitter, HttpCaliperEmitter)
        assert (builder.sensor, builder.app.name, builder.app.id) == (REQUIRED["SENSOR"], "Example Reader", None)
        assert builder.oneroster_url == REQUIRED["ONEROSTER_URL"]
        assert tracker._delivery.policy == ReadTimePolicy()


def test_os_environ_is_the_default(monkeypatch):
    """from_env(environ=None): the process's own."""
    for name, value in environment().items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    with ReadTimeTracker.from_env() as tracker:
        assert parts(tracker)[2].app.name == "Example Reader"
    assert os.environ[f"{PREFIX}APP_NAME"] == "Example Reader"


def test_what_tests_are_told_is_no_setting():
    """The variables of the test suite and of RedisServer may stand in an application's environment."""
    with ReadTimeTracker.from_env(environment(REDIS_SERVER="/usr/bin/redis-server", REQUIRE_REDIS="1")) as tracker:
        assert parts(tracker)[2].app.name == "Example Reader"


def test_names_with_and_without_the_prefix_and_in_any_case():
    """Settings: Flask's config carries the prefix amid others, Django's dict does not; lower case is fine."""
    for mapping in (
        environment() | {"DEBUG": True, "SECRET_KEY": SECRET},
        REQUIRED,
        {name.lower(): value for name, value in REQUIRED.items()},
    ):
        with ReadTimeTracker.from_settings(mapping) as tracker:
            assert parts(tracker)[2].sensor == REQUIRED["SENSOR"]


def test_a_tracker_from_settings_reports_to_a_real_endpoint():
    """from_settings: what comes out works: the time arrives, with the sensor of the settings."""
    with CaliperEndpoint() as endpoint:
        clock = ManualClock()
        with ReadTimeTracker.from_settings(REQUIRED | {"ENDPOINT": endpoint.url}, clock=clock) as tracker:
            tracker.accumulate(ANNA, OWLS, 10)
            assert tracker.finalize(ANNA, OWLS).outcome is Outcome.SENT
        assert endpoint.seconds() == 10
        assert json.loads(endpoint.requests[0].body)["sensor"] == REQUIRED["SENSOR"]


def test_one_error_lists_all_that_is_missing():
    """Settings: "With something missing, one error lists everything that is missing"."""
    with pytest.raises(ConfigurationError) as raised:
        ReadTimeTracker.from_env({f"{PREFIX}SENSOR": "https://reader.example.org", "PATH": "/bin"})
    for name in REQUIRED.keys() - {"SENSOR"}:
        assert f"{PREFIX}{name}" in str(raised.value)
    assert f"{PREFIX}SENSOR" not in str(raised.value)


@pytest.mark.parametrize("mapping", [{}, {"DEBUG": True, "SECRET_KEY": SECRET}])
def test_nothing_configured_lists_everything(mapping):
    """Settings: an empty mapping, or a host's own config without one of ours, lacks all five; no silent default."""
    for build in (ReadTimeTracker.from_settings, ReadTimeTracker.from_env):
        with pytest.raises(ConfigurationError) as raised:
            build(mapping)
        assert all(f"{PREFIX}{name}" in str(raised.value) for name in REQUIRED)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_value_is_missing(empty):
    """Settings: an empty variable, or None in a mapping, is no setting."""
    with pytest.raises(ConfigurationError, match=f"{PREFIX}SENSOR"):
        ReadTimeTracker.from_settings(REQUIRED | {"SENSOR": empty})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("STOREURL", "STORE_URL"), ("ENDPIONT", "ENDPOINT"), ("CLIENT_SECRETS", "CLIENT_SECRET"), ("HEARTBEAT", None)],
)
def test_unknown_names_are_an_error_with_a_suggestion(wrong, right):
    """Settings: "unknown names are an error with a suggestion"; the value is not quoted."""
    with pytest.raises(ConfigurationError) as raised:
        ReadTimeTracker.from_env(environment(**{wrong: SECRET}))
    assert f"{PREFIX}{wrong}" in str(raised.value)
    assert SECRET not in str(raised.value)
    if right is not None:
        assert f"{PREFIX}{right}?" in str(raised.value)


def test_an_unknown_override_is_an_error():
    """Settings: overrides are names too."""
    with pytest.raises(ConfigurationError, match="STORE_URL"):
        ReadTimeTracker.from_settings(REQUIRED, store_ulr="memory://")


def test_each_policy_field_is_a_setting():
    """Settings: "and each policy field", as text or as a number."""
    given = {
        attribute.name: "send"
        if attribute.name == "completion"
        else 0.5
        if attribute.name == "completion_ratio"
        else "enforce"
        if attribute.name == "reader_budget"
        else 40
        for attribute in attrs.fields(ReadTimePolicy)
        if attribute.init
    }
    expected = ReadTimePolicy(**given)
    as_text = {name.upper(): str(value) for name, value in given.items()}
    for mapping in (REQUIRED | given, environment(**as_text)):
        with ReadTimeTracker.from_settings(mapping) as tracker:
            assert tracker._delivery.policy == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_SECONDS", "ten"),
        ("LOCK_SECONDS", "-1"),
        ("LOCK_SECONDS", "nan"),
        ("COMPLETION", "maybe"),
        ("COMPLETION_RATIO", "2"),
        ("READ_BACK", "perhaps"),
        ("ACTIVITY_IDS", "both"),
        ("SENSOR", "reader"),
        ("ONEROSTER_URL", "roster"),
        ("APP_ID", "app"),
        ("ED_APP", "app"),
        ("STORE_URL", "postgres://u:hunter2-do-not-show@host"),
        ("STORE_URL", "memory"),
        ("STORE_URL", "sqlite://relative.db"),
        ("STORE_URL", "sqlite:///"),
        ("ENDPOINT", "caliper"),
        ("ENDPOINT", "jsonl://host/path"),
        ("NAMESPACE", "shared"),
        ("TIMEOUT_SECONDS", "soon"),
        ("TIMEOUT_SECONDS", "0"),
        ("PROXIES", "hunter2-do-not-show"),
        ("CA_BUNDLE", "/does/not/exist"),
        ("TRUST_ENV", "perhaps"),
        ("READER_BUDGET", "perhaps"),
        ("MAX_RETRY_BACKOFF_SECONDS", "1"),
        ("BATCH_EVENTS", "0"),
    ],
)
def test_a_wrong_value_is_a_configuration_error(name, value):
    """Settings: a wrong value is a ConfigurationError at once, that names the setting, and no secret."""
    with pytest.raises(ConfigurationError) as raised:
        ReadTimeTracker.from_env(environment(**{name: value}))
    assert f"{PREFIX}{name}" in str(raised.value)
    assert "ReadTimePolicy" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_short_lock_needs_no_second_setting():
    """Settings: "each policy field": a lock below the emitter's own default deadline makes a shorter deadline."""
    with ReadTimeTracker.from_env(environment(LOCK_SECONDS="6")) as tracker:
        assert parts(tracker)[1].deadline_seconds < 6


@pytest.mark.parametrize(
    ("given", "deadline", "timeout"),
    [
        ({}, 15, (5, 15)),
        ({"LOCK_SECONDS": "6"}, 3, (5, 3)),
        ({"LOCK_SECONDS": "60"}, 20, (5, 20)),
        ({"LOCK_SECONDS": "60", "TIMEOUT_SECONDS": "25"}, 25, (5, 25)),
        ({"TIMEOUT_SECONDS": "2"}, 15, (2, 2)),
    ],
)
def test_an_answer_may_take_what_the_lease_allows(given, deadline, timeout):
    """Settings: half of the lease unless TIMEOUT_SECONDS says otherwise: giving up early leaves a copy behind."""
    with ReadTimeTracker.from_env(environment(**given)) as tracker:
        emitter = parts(tracker)[1]
        assert emitter.deadline_seconds == deadline
        assert emitter._exchange.keywords["timeout"] == timeout


def test_a_time_out_beyond_half_of_the_lease_names_the_lease_it_needs():
    """Settings: what cannot be kept is an error that says what to set."""
    with pytest.raises(ConfigurationError, match="LOCK_SECONDS to 50"):
        ReadTimeTracker.from_env(environment(TIMEOUT_SECONDS="25"))


def test_duplicate_answers_may_be_a_dotted_path():
    """Settings: DUPLICATE_ANSWERS is a function of status and text, or where it stands."""
    with ReadTimeTracker.from_env(environment(DUPLICATE_ANSWERS="operator.eq")) as tracker:
        assert parts(tracker)[1]._exchange.keywords["duplicates"] is operator.eq


def test_the_way_to_the_endpoint_and_to_its_tokens(tmp_path):
    """Settings: PROXIES, CA_BUNDLE and TRUST_ENV reach the emitter and its token server."""
    pytest.importorskip("authlib")
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    way = {"PROXIES": f"http://u:{SECRET}@proxy.example:3128", "CA_BUNDLE": str(bundle), "TRUST_ENV": "true"}
    with ReadTimeTracker.from_env(environment(**OAUTH, CLIENT_SECRET=SECRET, **way)) as tracker:
        emitter = parts(tracker)[1]
        for network in (emitter._network, emitter._exchange.keywords["auth"]._network):
            assert (network.proxies, network.ca_bundle) == ({"all": way["PROXIES"]}, str(bundle))
            assert network.trust_env
        assert SECRET not in f"{emitter!r} {vars(emitter)}"


def test_read_back_and_plain_ids():
    """Settings: READ_BACK and ACTIVITY_IDS reach the emitter and the builder."""
    with ReadTimeTracker.from_env(environment(READ_BACK="true", ACTIVITY_IDS="plain", APP_ID="https://a.example")) as t:
        _, emitter, builder = parts(t)
        assert emitter.read_back is True
        assert builder.activity_id("owls") == "owls"
        assert builder.app.id == "https://a.example"


def test_jsonl_is_an_endpoint(tmp_path):
    """Settings: ENDPOINT may be jsonl:///path: one event a line."""
    path = tmp_path / "events of today.jsonl"
    with ReadTimeTracker.from_env(environment(ENDPOINT=f"jsonl://{tmp_path}/events%20of%20today.jsonl")) as tracker:
        assert isinstance(parts(tracker)[1], JsonLinesEmitter)
        tracker.accumulate(ANNA, OWLS, 10)
        tracker.finalize(ANNA, OWLS)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["generated"]["items"][0]["value"] == 10


def test_sqlite_is_a_store_that_stays(tmp_path):
    """Settings: STORE_URL may be sqlite:///path: what one tracker keeps, the next one reports."""
    given = environment(STORE_URL=f"sqlite:///{tmp_path}/readtime.db", ENDPOINT=f"jsonl://{tmp_path}/events.jsonl")
    with ReadTimeTracker.from_env(given) as tracker:
        tracker.accumulate(ANNA, OWLS, 10)
    with ReadTimeTracker.from_env(given) as tracker:
        assert isinstance(parts(tracker)[0], SqliteStateStore)
        assert tracker.sweep(idle_seconds=0).seconds_sent == 10.0


OAUTH = {"TOKEN_URL": "http://127.0.0.1:9/token", "CLIENT_ID": "me"}


def test_the_secret_may_stand_in_a_file(tmp_path):
    """Settings: "_CLIENT_SECRET or _CLIENT_SECRET_FILE"; neither is ever shown."""
    pytest.importorskip("authlib")
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    for more in ({"CLIENT_SECRET": SECRET}, {"CLIENT_SECRET_FILE": str(file)}):
        with ReadTimeTracker.from_env(environment(**OAUTH, **more)) as tracker:
            store, emitter, builder = parts(tracker)
            assert SECRET not in f"{tracker!r} {store!r} {emitter!r} {builder!r} {vars(emitter)}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_secret(tmp_path, encoding):
    """Settings: CLIENT_SECRET_FILE is text in UTF-8, as Windows' editors save it, too."""
    pytest.importorskip("authlib")
    file = tmp_path / "secret"
    file.write_bytes(f"{SECRET}ü\r\n".encode(encoding))
    with ReadTimeTracker.from_env(environment(**OAUTH, CLIENT_SECRET_FILE=str(file))) as tracker:
        assert parts(tracker)[1]._exchange.keywords["auth"]._client_secret == f"{SECRET}ü"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_a_secret_in_another_encoding_is_an_error_that_does_not_hold_it(tmp_path, encoding):
    """Settings: a CLIENT_SECRET_FILE that is no UTF-8 is named; no object of the error carries the secret."""
    secret = SECRET if encoding == "utf-16-le" else f"{SECRET}ü"
    file = tmp_path / "secret"
    file.write_bytes(secret.encode(encoding))
    with pytest.raises(ConfigurationError, match="CLIENT_SECRET_FILE") as raised:
        ReadTimeTracker.from_env(environment(**OAUTH, CLIENT_SECRET_FILE=str(file)))
    assert raised.value.__context__ is raised.value.__cause__ is None
    for frame, _ in traceback.walk_tb(raised.value.__traceback__):
        if frame.f_code.co_filename != __file__:
            assert SECRET not in repr(frame.f_locals).replace("\\x00", "")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CLIENT_SECRET": SECRET}, ["TOKEN_URL", "CLIENT_ID"]),
        ({"CLIENT_ID": "me"}, ["TOKEN_URL", "CLIENT_SECRET"]),
        ({**OAUTH, "CLIENT_SECRET": SECRET, "CLIENT_SECRET_FILE": "/x"}, ["CLIENT_SECRET_FILE"]),
        ({**OAUTH, "CLIENT_SECRET_FILE": "/does/not/exist"}, ["CLIENT_SECRET_FILE"]),
        ({**OAUTH, "SCOPE": "x"}, ["CLIENT_SECRET"]),
    ],
)
def test_half_an_oauth_set_up_is_an_error(given, named):
    """Settings: what is missing for OAuth2 is named, all of it; secrets are never quoted."""
    with pytest.raises(ConfigurationError) as raised:
        ReadTimeTracker.from_env(environment(**given))
    assert all(f"{PREFIX}{name}" in str(raised.value) for name in named)
    assert SECRET not in str(raised.value)


def test_overrides_win_and_objects_replace_settings():
    """Overrides: settings by lower-case name, and parts as objects; what an object replaces need not be set."""
    store, emitter, reports = InMemoryStateStore(), RecordingEmitter(), []
    tracker = ReadTimeTracker.from_settings(
        {},
        store=store,
        emitter=emitter,
        events=events(),
        policy=ReadTimePolicy(heartbeat_seconds=3),
        clock=ManualClock(),
        on_report=reports.append,
    )
    assert tracker.accumulate(ANNA, OWLS, 100).accepted_seconds == 8.0
    tracker.finalize(ANNA, OWLS)
    assert parts(tracker)[:2] == (store, emitter)
    assert (len(emitter.events), len(reports)) == (1, 1)
    with ReadTimeTracker.from_settings(REQUIRED, heartbeat_seconds=3, app_name="Another") as tracker:
        assert tracker._delivery.policy.heartbeat_seconds == 3
        assert parts(tracker)[2].app.name == "Another"


STORE = InMemoryStateStore()
REPORTS = []


class Recording(RecordingEmitter):
    """What a dotted path may lead to: a class of the host's, that is made when it is needed."""

    made = 0

    def __init__(self):
        type(self).made += 1
        super().__init__()


class Listener:
    """A host's object, whose method is called."""

    def note(self, report):
        REPORTS.append(report.outcome)


LISTENER = Listener()


def test_parts_by_dotted_path():
    """STORE, EMITTER and ON_REPORT: dotted paths from the environment, of an object, a class and an object's method."""
    here = {"STORE": f"{__name__}.STORE", "EMITTER": f"{__name__}.Recording", "ON_REPORT": f"{__name__}.LISTENER.note"}
    given = environment(STORE_URL=None, ENDPOINT=None, **here)
    with ReadTimeTracker.from_env(given, clock=ManualClock()) as tracker:
        store, emitter, _ = parts(tracker)
        assert (store is STORE, type(emitter), Recording.made) == (True, Recording, 1)
        tracker.accumulate(ANNA, OWLS, 10)
        tracker.finalize(ANNA, OWLS)
    assert REPORTS == [Outcome.SENT]


@pytest.mark.parametrize(
    ("name", "path", "problem"),
    [
        ("STORE", "nowhere.at.all", "cannot be imported"),
        ("STORE", "caliper_readtime.nothing", "cannot be imported"),
        ("STORE", "redis://:hunter2-do-not-show@host", "dotted path"),
        ("STORE", "caliper_readtime.ReadTimePolicy", "update"),
        ("EMITTER", "caliper_readtime.__version__", "emit"),
        ("EMITTER", "os", "dotted path"),
        ("ON_REPORT", "caliper_readtime.__version__", "function"),
        ("TRUST_NULL_ORIGIN", "perhaps", "true or false"),
        ("BATCH_EVENTS", "many", "whole number"),
        ("TIMEOUT_SECONDS", "long", "number"),
        ("CA_BUNDLE", "/does/not/exist", "CA certificates"),
        ("APP_NAME", 7, "text"),
    ],
)
def test_a_wrong_value_names_its_setting(name, path, problem):
    """Settings: the error says which one, and what it must be."""
    with pytest.raises(ConfigurationError, match=problem) as raised:
        ReadTimeTracker.from_settings(environment(**{name: path}))
    assert name in str(raised.value) or name == "CA_BUNDLE"
    assert SECRET not in str(raised.value)


def test_the_time_out_is_a_setting():
    """TIMEOUT_SECONDS: how long the endpoint may take for an answer."""
    with ReadTimeTracker.from_env(environment(TIMEOUT_SECONDS="0.25")) as tracker:
        assert parts(tracker)[1]._exchange.keywords["timeout"] == (0.25, 0.25)


def test_every_setting_is_one_line_of_the_table():
    """The table says of each its name, type, default and who reads it; secrets are not shown."""
    settings = Settings.of({"client_secret": SECRET, "secrets": SECRET, "proxies": f"http://u:{SECRET}@proxy"})
    assert SECRET not in repr(settings)
    for name, setting in TABLE.items():
        assert (setting.name, hasattr(getattr(settings, setting.group), name)) == (name, True)
    assert Settings.of({}).policy == ReadTimePolicy()


def test_an_object_leaves_the_rest_missing():
    """Overrides: with a store given, the other four are still required."""
    with pytest.raises(ConfigurationError) as raised:
        ReadTimeTracker.from_settings({}, store=InMemoryStateStore())
    assert f"{PREFIX}STORE_URL" not in str(raised.value)
    assert f"{PREFIX}ENDPOINT" in str(raised.value)


def test_emitter_none_makes_a_tracker_that_sends_nothing():
    """Overrides: emitter=None: may accumulate; sending is a ConfigurationError; no endpoint is needed."""
    tracker = ReadTimeTracker.from_settings({**REQUIRED, "ENDPOINT": None}, emitter=None)
    tracker.accumulate(ANNA, OWLS, 10)
    with pytest.raises(ConfigurationError):
        tracker.partial(ANNA, OWLS)


class Closing:
    """Counts how often it was closed; otherwise another object."""

    def __init__(self, inner):
        self.inner = inner
        self.closed = 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def close(self):
        self.closed += 1


def test_close_closes_only_what_it_created():
    """ReadTimeTracker: "close() closes only what it created itself"."""
    store, emitter = Closing(InMemoryStateStore()), Closing(RecordingEmitter())
    with ReadTimeTracker(store, emitter, events()):
        pass
    with ReadTimeTracker.from_settings(REQUIRED, store=store, emitter=emitter):
        pass
    assert (store.closed, emitter.closed) == (0, 0)
    with ReadTimeTracker.from_settings(REQUIRED, store=store) as tracker:
        made = Closing(parts(tracker)[1])
        tracker._created = tuple(made if part is made.inner else part for part in tracker._created)
    assert (store.closed, made.closed) == (0, 1)
    made.inner.close()


def open_files(path):
    """How many file descriptors of this process show the file."""
    return sum(link.resolve() == path.resolve() for link in FILES.iterdir())


@pytest.mark.skipif(not FILES.is_dir(), reason="needs /proc to count open files")
@pytest.mark.parametrize("wrong", [{"READ_BACK": "perhaps"}, {"ENDPOINT": "nonsense"}])
def test_what_cannot_be_built_leaves_nothing_open(tmp_path, wrong):
    """from_settings: where one part is wrong, no other stays open."""
    path = tmp_path / "readtime.db"
    with pytest.raises(ConfigurationError):
        ReadTimeTracker.from_env(environment(STORE_URL=f"sqlite:///{path}", **wrong))
    assert open_files(path) == 0


@pytest.mark.skipif(not FILES.is_dir(), reason="needs /proc to count open files")
def test_a_tracker_that_refuses_its_parts_leaves_nothing_open(tmp_path):
    """from_settings: the tracker's own ConfigurationError closes what was created for it."""

    class TooSlow(RecordingEmitter):
        deadline_seconds = 30.0

    path = tmp_path / "readtime.db"
    with pytest.raises(ConfigurationError, match="deadline"):
        ReadTimeTracker.from_env(environment(STORE_URL=f"sqlite:///{path}", ENDPOINT=None), emitter=TooSlow())
    assert open_files(path) == 0


def test_a_store_that_cannot_be_opened_is_unavailable(tmp_path):
    """Errors: driver exceptions never leak: a directory that does not exist is StoreUnavailable."""
    with pytest.raises(StoreUnavailable) as raised:
        ReadTimeTracker.from_env(environment(STORE_URL=f"sqlite:///{tmp_path}/missing/readtime.db"))
    assert isinstance(raised.value.__cause__, sqlite3.Error)


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    """Errors: driver exceptions never leak: a file that is something else is StoreUnavailable, and stays as it is."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 1000)
    with pytest.raises(StoreUnavailable):
        ReadTimeTracker.from_env(environment(STORE_URL=f"sqlite:///{path}"))
    assert path.read_text().startswith("Dear reader")
    with closing(path.open()) as file:
        assert len(file.read()) == 13_000
