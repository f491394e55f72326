"""The observability recipes: what is exported after real reports, failures and refusals included, and what never is."""

from __future__ import annotations

import io
import json
import logging
from contextlib import closing
from datetime import timedelta

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from caliper_readtime import EmitterUnavailable, EndpointRefused, EventRejected, HttpCaliperEmitter, StoreUnavailable
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing._endpoint import Reject
from tests.commands import command
from tests.recipes.pages import ran
from tests.scenes import ANNA, BEES, BEN, OWLS, START, article, everything

CANARY = "anna@example.org said no"


@pytest.fixture
def page():
    """What the page defines, fresh, after what its own blocks have done."""
    with ran("observe") as names:
        names["SECONDS"].reset()
        names["REPORTS"].clear()
        yield names


def a_bad_day(scene):
    """Two accepted reports of 30 s and 20 s, one refused event of 12 s, one that failed twice, for two reasons."""
    scene.read(ANNA, OWLS, 30)
    scene.tracker.partial(ANNA, OWLS)
    scene.read(BEN, OWLS, 20)
    scene.tracker.sweep(idle_seconds=0)
    scene.read(ANNA, BEES, 12)
    scene.emitter.fail(EventRejected(CANARY, status=422), EmitterUnavailable(CANARY), EndpointRefused(CANARY))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, BEES)
    scene.read(BEN, BEES, 15)
    for error in (EmitterUnavailable, EndpointRefused):
        with pytest.raises(error):
            scene.tracker.finalize(BEN, BEES)


BAD_DAY = {
    ("sent", ""): 2,
    ("parked", "EventRejected"): 1,
    ("failed", "EmitterUnavailable"): 1,
    ("failed", "EndpointRefused"): 1,
}


class Away:
    """A tracker whose store does not answer."""

    asked = 0

    def status(self):
        self.asked += 1
        raise StoreUnavailable("gone")


# Prometheus


def samples(registry):
    """Every sample that a scrape brings: name and labels, and the value."""
    return {
        (sample.name, *sample.labels.items()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.fixture
def registry(page, scene):
    """What is scraped of the scene's tracker."""
    scene.use(on_report=page["count"])
    registry, kind = page["registry"], page["StatusCollector"]
    for collector in [each for each in registry._collector_to_names if isinstance(each, kind)]:
        registry.unregister(collector)  # of the page's own tracker
    registry.register(kind(scene.tracker))
    return registry


def test_prometheus_counts_reports_by_outcome(page, scene, registry):
    """After a bad day each outcome has its count, and the seconds are those that were accepted."""
    a_bad_day(scene)
    found = samples(registry)
    counted = {
        (dict(labels)["outcome"], dict(labels)["error"]): value
        for (name, *labels), value in found.items()
        if name == "caliper_readtime_reports_total"
    }
    assert counted == BAD_DAY
    assert found["caliper_readtime_reported_seconds_total",] == 50.0 == sum(scene.sent)


def test_prometheus_shows_what_waits(scene, registry):
    """The gauges are the store's: two states, 27 s, since when, one parked event, and when a sweep ran."""
    a_bad_day(scene)
    found = samples(registry)
    status = scene.tracker.status()
    assert found["caliper_readtime_store_up",] == 1
    assert found["caliper_readtime_unreported_states",] == 2
    assert found["caliper_readtime_unreported_seconds",] == 27.0
    assert found["caliper_readtime_parked_events",] == 1
    assert found["caliper_readtime_oldest_unreported_timestamp_seconds",] == status.oldest_unreported_at.timestamp()
    assert found["caliper_readtime_last_sweep_timestamp_seconds",] == (START + timedelta(seconds=50)).timestamp()


def test_prometheus_gauges_are_the_commands(scene, registry):
    """``status --openmetrics`` writes the same gauges under the same names, so that alerts fit both."""
    a_bad_day(scene)
    text = command("status", "--openmetrics", tracker=scene.tracker).out
    theirs = {
        (sample.name,): sample.value
        for family in text_string_to_metric_families(text.replace("# EOF\n", ""))
        for sample in family.samples
    }
    ours = samples(registry)
    assert len(theirs) == 8
    assert {key: ours.get(key) for key in theirs} == theirs


def test_prometheus_goes_on_without_the_store(page, scene, registry):
    """The store is away: a scrape says so, has no gauge of it, and still has the counters."""
    a_bad_day(scene)
    (collector,) = [each for each in registry._collector_to_names if isinstance(each, page["StatusCollector"])]
    collector.tracker = Away()
    found = samples(registry)
    assert found.pop(("caliper_readtime_store_up",)) == 0
    assert {name for name, *_ in found} == {"caliper_readtime_reports_total", "caliper_readtime_reported_seconds_total"}


def test_prometheus_has_nothing_where_nothing_waits(scene, registry):
    """No age is shown where nothing waits and no sweep has run: an alert must not fire on a zero."""
    names = {name for name, *_ in samples(registry)}
    assert "caliper_readtime_unreported_states" in names
    assert not any(name.endswith("_timestamp_seconds") for name in names)


def test_prometheus_series_do_not_grow_with_readers(scene, registry):
    """A hundred readers and articles more make no series more, and no id or address is in any."""
    a_bad_day(scene)
    before = set(samples(registry))
    for number in range(100):
        what = article(f"canary{number}")
        scene.read(ANNA, what, 1)
        scene.tracker.partial(ANNA, what)
    assert set(samples(registry)) == before
    for text in (generate_latest(registry).decode(), openmetrics(registry).decode()):
        assert not any(word in text for word in ("anna", "owls", "canary", "urn:uuid", "@"))


# OpenTelemetry


@pytest.fixture
def telemetry(page, scene):
    """The recipe on providers in memory: metrics by name and labels, and the finished spans."""
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader], shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    made = page["Telemetry"](meters, tracers, fresh_seconds=0)
    scene.use(on_report=made.record)
    made.watch(scene.tracker)
    made.tracers, made.spans, made.reader = tracers, spans, reader
    yield made
    tracers.shutdown()
    meters.shutdown()


def points(telemetry):
    """Every data point: name and attributes, and the value."""
    return {
        (metric.name, *sorted(point.attributes.items())): point.value
        for resource in telemetry.reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_opentelemetry_counts_reports(scene, telemetry):
    """Counters by outcome, accepted seconds, and gauges of what waits and for how long."""
    a_bad_day(scene)
    scene.clock.advance(100)
    found = points(telemetry)
    counted = {
        (dict(labels)["outcome"], dict(labels).get("error.type", "")): value
        for (name, *labels), value in found.items()
        if name == "caliper_readtime._results"
    }
    assert counted == BAD_DAY
    gauges = {name.removeprefix("caliper_readtime."): found[name, *labels] for name, *labels in found if not labels}
    assert gauges == {
        "reported_time": 50.0,
        "unreported_states": 2,
        "unreported_seconds": 27.0,
        "parked_events": 1,
        "oldest_unreported_age": 127.0,
        "last_sweep_age": 127.0,
    }


def test_opentelemetry_makes_a_span_of_each_report(scene, telemetry):
    """A span has the outcome, seconds and event ids, an error's class as status, and the request's span above it."""
    requests = telemetry.tracers.get_tracer("host")
    with requests.start_as_current_span("POST /finish") as request:
        a_bad_day(scene)
    spans = [span for span in telemetry.spans.get_finished_spans() if span.name == "caliper_readtime report"]
    assert [span.parent.span_id for span in spans] == [request.get_span_context().span_id] * 5
    assert [span.attributes["outcome"] for span in spans] == ["sent", "sent", "parked", "failed", "failed"]
    assert [span.attributes["caliper_readtime.seconds"] for span in spans] == [30.0, 20.0, 0.0, 0.0, 0.0]
    assert spans[0].attributes["caliper_readtime.event_ids"] == (scene.emitter.events[0]["id"],)
    assert [span.status.status_code is StatusCode.ERROR for span in spans] == [False, False, True, True, True]
    assert spans[2].status.description == spans[2].attributes["error.type"] == "EventRejected"


def test_opentelemetry_tells_no_address(scene, telemetry):
    """Errors quote an address; no attribute, status or event of a span and no metric does, or names the reader."""
    a_bad_day(scene)
    spans = [span.to_json() for span in telemetry.spans.get_finished_spans()]
    assert len(spans) == 5
    for text in (*spans, telemetry.reader.get_metrics_data().to_json()):
        assert "@" not in text
        assert "anna" not in text


def test_opentelemetry_goes_on_without_the_store(page, telemetry, scene):
    """The store is away: the gauges have no value, the counters do, and nothing raises."""
    a_bad_day(scene)
    reader, away = InMemoryMetricReader(), Away()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    lonely = page["Telemetry"](meters, telemetry.tracers, fresh_seconds=3600.0)
    lonely.watch(away)
    lonely.record(scene.tracker.partial(ANNA, OWLS))
    lonely.reader = reader
    assert {name for name, *_ in points(lonely)} == {"caliper_readtime._results", "caliper_readtime.reported_time"}
    assert away.asked == 1  # not once for each gauge: a store that is away may take its time
    meters.shutdown()


def test_opentelemetry_looks_once_for_all_gauges(page, scene):
    """One collection asks the store once, however many gauges it has."""
    asked = []

    class Counted:
        now = staticmethod(scene.tracker.now)

        def status(self):
            asked.append(1)
            return scene.tracker.status()

    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    page["Telemetry"](meters, fresh_seconds=3600.0).watch(Counted())
    reader.get_metrics_data()
    assert len(asked) == 1
    meters.shutdown()


# structlog


@pytest.fixture
def lines(page):
    """The package's lines as the recipe writes them: JSON, one a line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(page["formatter"])
    logger = logging.getLogger("caliper_readtime")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_structlog_has_every_field(scene, lines):
    """A sent report's line: the sentence alone, its fields under keys of their own, and what the request has bound."""
    scene.read(ANNA, OWLS, 30)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        scene.tracker.finalize(ANNA, OWLS)
    (sent,) = [line for line in lines() if line["event"] == "article finalize: sent"]
    assert sent.pop("timestamp").endswith("Z")
    assert sent == {
        "event": "article finalize: sent",
        "level": "info",
        "logger": "caliper_readtime",
        "request_id": "r-1",
        "reader_sourced_id": "anna",
        "resource_id": "owls",
        "event_id": scene.emitter.events[0]["id"],
        "delta": 30.0,
    }


def test_structlog_tells_failures(scene, lines):
    """Each failure has a line with the error's class, the status, the next try and what follows."""
    a_bad_day(scene)
    failed = [line for line in lines() if line["event"].endswith(": failed")]
    assert [(line["error"], line["status"], line["level"]) for line in failed] == [
        ("EventRejected", 422, "error"),
        ("EmitterUnavailable", None, "error"),
        ("EndpointRefused", None, "error"),
    ]
    assert all(line["retry_at"] and line["then"] and line["event_id"] for line in failed)


def test_structlog_leaves_other_lines_alone(page):
    """Another library's line through the same handler keeps its text, arguments filled in."""
    record = logging.LogRecord("other", logging.INFO, __file__, 1, "%s of %s", ("one", "two"), None)
    assert json.loads(page["formatter"].format(record))["event"] == "one of two"


def test_structlog_tells_no_address(scene, lines):
    """Not a line at any level has an address, and every sentence is without its fields."""
    a_bad_day(scene)
    scene.tracker.flush_reader(ANNA)
    found = lines()
    assert len(found) > 15
    assert not any("@" in json.dumps(line) for line in found)
    assert [line["event"] for line in found if "=" in line["event"]] == []


# All of it, over a real socket


def test_all_listeners_hear_the_same(page, scene, telemetry, registry, lines):
    """Over HTTP, with an endpoint that refuses once: counters, spans and lines agree with what it holds."""
    with CaliperEndpoint() as endpoint, closing(HttpCaliperEmitter(endpoint.url, attempts=1)) as emitter:
        endpoint.misbehave(Reject(everything))

        def record(report):
            page["count"](report)
            telemetry.record(report)

        scene.use(emitter, on_report=record)
        scene.read()
        with pytest.raises(EventRejected):
            scene.tracker.finalize(ANNA, OWLS)
        scene.read(seconds=12)
        scene.tracker.finalize(ANNA, OWLS)
        held = endpoint.seconds()
    assert held == 12.0
    assert samples(registry)["caliper_readtime_reported_seconds_total",] == held
    assert points(telemetry)["caliper_readtime.reported_time",] == held
    assert [line["delta"] for line in lines() if line["event"] == "article finalize: sent"] == [held]
