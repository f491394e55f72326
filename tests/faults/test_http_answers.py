"""The HTTP emitter and the answers of a strict endpoint: errors, retries, 401 and 409."""

# ruff: noqa: S105 - the secrets of a loopback server

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest
import requests

from caliper_readtime.errors import (
    ConfigurationError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
)
from caliper_readtime.testing.behaviours import (
    AcceptThen,
    Answer,
    Conflict,
    Drop,
    EmptyBody,
    Hang,
    Reject,
    Reply202JobId,
)
from tests.faults.emitting import (
    EVENT,
    IDS,
    MANY,
    SHORT,
    breaker_lets_through,
    emitter_for,
    endpoint_and_emitter,
    timed,
)
from tests.faults.raw_server import RawServer, reply
from tests.scenes import until

RETRY = {"Retry-After": "1"}


class Token(requests.auth.AuthBase):
    """An auth whose token is good only once it was renewed."""

    def __init__(self, texts=("stale", "fresh")):
        self.texts = list(texts)
        self.renewals = 0

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.texts[0]}"
        return request

    def renew(self):
        self.renewals += 1
        del self.texts[0]


# --- answers


@pytest.mark.parametrize("success", [Reply202JobId(), EmptyBody(), Answer(204), Answer(200, b"\x00garbage<")])
def test_2xx_is_accepted(pair, success):
    """H1: 2xx is accepted: with a job id, empty, or with garbage."""
    endpoint, emitter = pair
    endpoint.misbehave(success)
    assert timed(emitter.emit, [EVENT]).error is None
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_rejections_are_not_repeated(pair, status):
    """H5: 400, 413 and 422 are EventRejected, with the shortened body, which the text does not show."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(status, "s@example.org " * 1000))
    error = timed(emitter.emit, MANY).error
    assert type(error) is EventRejected
    assert (error.status, error.event_ids, len(error.body)) == (status, IDS, 2000)
    assert "s@example.org" not in str(error)
    assert len(endpoint.requests) == 1


def test_200_that_says_error_is_a_rejection(pair):
    """H1: a 200 whose body says that it is an error is EventRejected(status=200)."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer.json(200, {"status": "error", "message": "no"}))
    error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EventRejected
    assert error.status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308, 403, 404, 405, 407, 415, 418])
def test_refusals_are_not_repeated_and_no_redirect_is_followed(pair, status):
    """H7: 3xx and every other 4xx are EndpointRefused; the text says where, the status and what to do."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(status, "secret", {"Location": endpoint.url + "/validate?moved=1"}))
    error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EndpointRefused
    assert (error.status, error.event_ids) == (status, (EVENT["id"],))
    assert f"{urlsplit(endpoint.url).netloc}/caliper/event answered {status}: " in str(error)
    assert "secret" not in str(error)
    assert [request.path for request in endpoint.requests] == ["/caliper/event"]


@pytest.mark.parametrize("location", ["http://[", "", "//"])
def test_a_redirect_to_nonsense_is_a_refusal(pair, location):
    """A Location that cannot be parsed is never looked at."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(302, b"", {"Location": location}))
    error = timed(emitter.emit, [EVENT]).error
    assert (type(error), error.status) == (EndpointRefused, 302)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
def test_answers_that_leave_it_open_are_not_repeated(pair, status):
    """H9: after 408, 425 and a 5xx nobody knows: EmitterUnavailable at once, and at most one copy."""
    endpoint, emitter = pair
    endpoint.misbehave(AcceptThen(Answer(status)))
    error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EmitterUnavailable
    assert (error.status, error.event_ids, error.ambiguous, error.tried) == (status, (EVENT["id"],), True, True)
    assert endpoint.deliveries == (EVENT,)


@pytest.mark.parametrize("answer", [Answer(429), Answer(429, b"", RETRY), Answer(503, b"", RETRY)])
def test_what_was_certainly_not_taken_is_sent_again(pair, answer):
    """H8: 429, and 503 with Retry-After, are sent again within the deadline, up to the attempts."""
    endpoint, emitter = pair
    endpoint.misbehave(answer)
    assert timed(emitter.emit, [EVENT]).error is None
    assert len(endpoint.requests) == 2
    endpoint.misbehave_always(answer)
    error = timed(emitter.emit, [MANY[1]]).error
    assert type(error) is EmitterUnavailable
    assert (error.status, error.event_ids, error.ambiguous) == (answer.status, (IDS[1],), False)
    assert len(endpoint.requests) == 4
    assert endpoint.deliveries == (EVENT,)


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured_inside_the_deadline(date):
    """Retry-After in seconds and as a date: the next attempt waits that long."""
    with endpoint_and_emitter() as (endpoint, emitter):
        moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        header = format_datetime(moment, usegmt=True) if date else "1"
        endpoint.misbehave(Answer(429, b"", {"Retry-After": header}))
        ended = timed(emitter.emit, [EVENT])
        assert ended.error is None
        assert ended.seconds >= 0.9
        assert len(endpoint.requests) == 2


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_beyond_the_deadline_is_handed_on(pair, date):
    """Where the deadline is too short for Retry-After, nothing waits, and the error carries it."""
    endpoint, emitter = pair
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True) if date else "120"
    endpoint.misbehave(Answer(503, b"", {"Retry-After": header}))
    ended = timed(emitter.emit, [EVENT])
    assert type(ended.error) is EmitterUnavailable
    assert 60 < ended.error.retry_after_seconds <= 120
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("drop", "copies"), [(Drop(after="headers"), 0), (Drop(after="body"), 0), (Drop(after="accept"), 1)]
)
def test_a_reset_is_not_repeated(pair, drop, copies):
    """H9: a connection that breaks after the request leaves it open: one request; requests' own error is the cause."""
    endpoint, emitter = pair
    endpoint.misbehave(drop)
    error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EmitterUnavailable
    assert (error.status, error.event_ids, error.ambiguous) == (None, (EVENT["id"],), True)
    assert isinstance(error.__cause__, requests.ConnectionError)
    assert len(endpoint.requests) == 1
    assert len(endpoint.deliveries) == copies


def test_an_endpoint_slower_than_the_time_out_gets_one_copy_a_try():
    """H9: it stores at once and answers too late: every try leaves exactly one copy."""
    with endpoint_and_emitter(timeout=0.2, attempts=4) as (endpoint, emitter):
        endpoint.misbehave_always(Hang(SHORT, accept=True))
        for tries in range(1, 4):
            until(lambda: breaker_lets_through(emitter))
            ended = timed(emitter.emit, [EVENT])
            assert (type(ended.error), ended.error.ambiguous) == (EmitterUnavailable, True)
            assert len(endpoint.deliveries) == tries


def test_without_a_time_out_the_answer_may_take_the_whole_deadline():
    """The default waits for an answer as long as the deadline allows, since giving up may leave a copy behind."""
    never = threading.Event()

    def slow(*_):
        never.wait(1.0)  # stands for an endpoint that takes its time
        return reply()

    with RawServer(slow) as server, emitter_for(server.url, timeout=None) as emitter:
        assert timed(emitter.emit, [EVENT]).error is None
        assert len(server.requests) == 1


# --- 401


def test_401_renews_the_auth_once(pair):
    """H6: 401 renews the auth once, and the request is repeated, even with a single attempt."""
    endpoint, _ = pair
    endpoint.token = "fresh"
    auth = Token()
    with emitter_for(endpoint.url, auth=auth, attempts=1) as emitter:
        assert timed(emitter.emit, [EVENT]).error is None
    assert [request.status for request in endpoint.requests] == [401, 200]
    assert auth.renewals == 1


def test_401_again_is_a_refusal(pair):
    """H6: a second 401 is EndpointRefused."""
    endpoint, _ = pair
    endpoint.token = "other"
    auth = Token()
    with emitter_for(endpoint.url, auth=auth) as emitter:
        error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EndpointRefused
    assert (error.status, error.event_ids) == (401, (EVENT["id"],))
    assert "credentials" in str(error)
    assert "stale" not in str(error)
    assert [request.status for request in endpoint.requests] == [401, 401]
    assert auth.renewals == 1


@pytest.mark.parametrize("auth", [None, ("user", "wrong-password")])
def test_401_without_a_renewable_auth_is_a_refusal_at_once(pair, auth):
    """An auth that cannot be renewed is not asked twice."""
    endpoint, _ = pair
    endpoint.token = "other"
    with emitter_for(endpoint.url, auth=auth) as emitter:
        error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EndpointRefused
    assert "wrong-password" not in str(error) + repr(emitter)
    assert len(endpoint.requests) == 1


class Failing(Token):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def __call__(self, request):
        raise self.error


@pytest.mark.parametrize("error", [EndpointRefused("no", status=400), EventRejected("no"), EmitterUnavailable("no")])
def test_errors_of_the_family_pass_through_from_the_auth(pair, error):
    """An auth that raises EmitError lets it through, with the ids filled in."""
    endpoint, _ = pair
    with emitter_for(endpoint.url, auth=Failing(error)) as emitter:
        raised = timed(emitter.emit, [EVENT]).error
    assert raised is error
    assert raised.event_ids == (EVENT["id"],)
    assert endpoint.requests == ()


@pytest.mark.parametrize("error", [requests.ConnectionError("x"), KeyError("x"), ConfigurationError("x")])
def test_other_errors_of_the_auth_are_mapped(pair, error):
    """Only the EmitError family escapes; what the auth raised is the cause."""
    endpoint, _ = pair
    with emitter_for(endpoint.url, auth=Failing(error)) as emitter:
        raised = timed(emitter.emit, [EVENT]).error
    assert type(raised) is EmitterUnavailable
    assert raised.__cause__ is error


@pytest.mark.parametrize("text", ["secret\r\nX: y", "secret\u20ac"])
def test_a_token_that_cannot_be_sent_is_not_shown(pair, text):
    """http.client quotes a header that it refuses: neither text nor cause of the error do."""
    endpoint, _ = pair
    with emitter_for(endpoint.url, auth=Token([text])) as emitter:
        raised = timed(emitter.emit, [EVENT]).error
    assert type(raised) is EndpointRefused
    assert raised.__cause__ is None
    assert raised.__context__ is None
    assert "secret" not in str(raised)


def test_a_base_exception_passes():
    """L5: KeyboardInterrupt is nobody's to swallow, and leaves the emitter usable."""
    with endpoint_and_emitter(auth=Failing(KeyboardInterrupt())) as (_, emitter), pytest.raises(KeyboardInterrupt):
        emitter.emit([EVENT])


# --- 409


def test_409_for_one_event_is_acceptance(pair):
    """H2: 409 to an envelope of one event: the endpoint holds it, accepted."""
    endpoint, emitter = pair
    endpoint.misbehave_always(Conflict())
    emitter.emit([EVENT])
    emitter.emit([EVENT])
    assert [request.status for request in endpoint.requests] == [200, 409]


@pytest.mark.parametrize("known", [[0], [7], [0, 1, 2, 3], [1, 4, 6], list(range(8))])
def test_409_for_several_is_halved_until_each_stands_alone(pair, known):
    """H3: after a 409 to several events the envelope is halved: nothing is lost and nothing sent twice."""
    endpoint, emitter = pair
    emitter.emit([MANY[number] for number in known])
    endpoint.misbehave_always(Conflict())
    assert timed(emitter.emit, MANY).error is None
    assert {entry["id"] for entry in endpoint.events} == set(IDS)
    assert endpoint.duplicates == ()
    assert len(endpoint.requests) <= 1 + 2 * len(MANY)


def test_what_halving_could_not_settle_is_unavailable(pair):
    """H3: what halving could not settle is EmitterUnavailable: the ids are those of the unsettled events."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(409), Conflict(), Answer(429), Answer(429))
    error = timed(emitter.emit, MANY).error
    assert type(error) is EmitterUnavailable
    assert error.event_ids == IDS[4:]
    assert error.ambiguous  # after a 409 the endpoint holds some of them
    assert {entry["id"] for entry in endpoint.events} == set(IDS[:4])


def test_a_rejection_while_halving_names_the_half(pair):
    """A rejected half is raised at once; none counts as accepted, and sending again is harmless."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(409), Conflict(), Reject(lambda entry: entry["id"] == IDS[5]))
    error = timed(emitter.emit, MANY).error
    assert type(error) is EventRejected
    assert error.event_ids == IDS[4:]
    endpoint.misbehave_always(Conflict())
    assert timed(emitter.emit, MANY).error is None
    assert endpoint.duplicates == ()


@pytest.mark.parametrize(
    "answer", [Answer(400, "already exists"), Answer(500, "duplicate key"), Answer(200, '{"status":"error","x":"dup"}')]
)
def test_duplicate_answers_mean_held(answer):
    """H4: what duplicate_answers recognises is acceptance for one event, and halves an envelope of several."""

    def duplicate(status, text):
        return "already exists" in text or "dup" in text

    with endpoint_and_emitter(duplicate_answers=duplicate) as (endpoint, emitter):
        endpoint.misbehave(answer)
        assert timed(emitter.emit, [EVENT]).error is None
        assert len(endpoint.requests) == 1
        endpoint.misbehave(answer)
        assert timed(emitter.emit, MANY).error is None
        assert endpoint.events == tuple(MANY)
        assert len(endpoint.requests) == 4


def test_duplicate_answers_replace_the_default():
    """H4: whoever says which answers mean "held" may leave out 409, which is then a refusal; success is not asked."""
    asked = []
    with endpoint_and_emitter(duplicate_answers=lambda *answer: asked.append(answer)) as (endpoint, emitter):
        endpoint.misbehave(Answer(409, "version"))
        assert type(timed(emitter.emit, [EVENT]).error) is EndpointRefused
        assert set(asked) == {(409, "version")}
        asked.clear()
        assert timed(emitter.emit, [EVENT]).error is None
        assert asked == []


def test_endless_conflicts_end_with_the_deadline():
    """H3, H15: halving happens inside the deadline, however slow the endpoint is."""
    with endpoint_and_emitter() as (endpoint, emitter):
        endpoint.misbehave_always(Answer(409))
        never = threading.Event()

        def slow(request):
            never.wait(0.1)  # stands for a slow network
            return request

        with emitter_for(endpoint.url, auth=slow, deadline_seconds=SHORT) as slow_emitter:
            error = timed(slow_emitter.emit, MANY, deadline=SHORT).error
        assert type(error) is EmitterUnavailable
        assert 0 < len(error.event_ids) <= len(MANY)
        assert error.event_ids == IDS[-len(error.event_ids) :]
        assert timed(emitter.emit, MANY).error is None
