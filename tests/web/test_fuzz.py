"""Security bar 7: whatever is sent to a site, the answer is a documented one, and only good signals change a state."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caliper_readtime.web.refusals import Refusal, Refused
from caliper_readtime.web.signals import PageSignal, parse
from tests.web.sites import HOST, SITES

STATUSES = {204, 400, 403, 413}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("skvtbpcl") | st.text(), inner),
    max_leaves=12,
)
#: Messages that are nearly right: each field is good, or anything.
NEARLY = st.fixed_dictionaries(
    {"s": st.just(1) | JSON, "k": st.just("TICKET") | JSON, "v": st.just("view") | JSON, "t": st.just(5000) | JSON},
    optional={"b": st.just(0) | JSON, "p": st.just(0.5) | JSON, "c": st.just(True) | JSON, "l": st.just(True) | JSON},
)
BODIES = st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode) | NEARLY.map(json.dumps).map(str.encode)
FIELDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@pytest.fixture(params=SITES, scope="module")
def kind(request):
    """A framework's name."""
    return request.param


@given(data=st.data())
def test_bodies(kind, data):
    """No body brings a 5xx; a refused one changes nothing, a taken one is a signal; a good one is taken afterwards."""
    with SITES[kind]() as site:
        ticket = site.ticket()
        for _ in range(10):
            body = data.draw(BODIES).replace(b'"TICKET"', json.dumps(ticket).encode())
            before = site.tracker.states("anna"), site.tracker.states("ben")
            answer = site.post(body)
            assert answer.status_code in STATUSES
            if answer.status_code == 204:
                assert parse(body).ticket == ticket
            else:
                assert answer.json["error"] in set(Refusal)
                assert (site.tracker.states("anna"), site.tracker.states("ben")) == before
        assert site.log(ticket, 1, view="probe").status_code == 204


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.sampled_from(
        ["signals", "health", "readtime.js", "readtime.mjs", "readtime.min.js", "", "../x", "signals/"]
    )
    | FIELDS,
    headers=st.dictionaries(
        st.sampled_from(
            ["Origin", "Sec-Fetch-Site", "Content-Type", "Cookie", "If-None-Match", "Accept-Encoding", "Range"]
        ),
        FIELDS,
    ),
    body=BODIES,
)
@example("POST", "signals", {"Origin": "http://[::1"}, b"{}")
@example("GET", "readtime.js", {"Range": "bytes=5-2"}, b"")
def test_requests(kind, method, path, headers, body):
    """No method, path or header brings a 5xx, and none a state."""
    with SITES[kind]() as site:
        answer = site.client.open(
            f"/readtime/{path}", method=method, headers=headers, data=body, base_url=f"http://{HOST}"
        )
        assert answer.status_code < 500
        assert site.tracker.states("anna") == ()


@given(BODIES)
def test_parse(body):
    """Only ``Refused`` leaves the parser."""
    try:
        assert isinstance(parse(body), PageSignal)
    except Refused as refused:
        assert refused.reason in Refusal
        assert refused.__cause__ is None


@given(st.text() | st.text("abcABC019-_.:=", max_size=80))
def test_tickets(kind, text):
    """Only ``Refused`` leaves the verification of a ticket."""
    with SITES[kind]() as site:
        with pytest.raises(Refused) as caught:
            site.opened(text)
        assert caught.value.reason is Refusal.TICKET_FORGED
