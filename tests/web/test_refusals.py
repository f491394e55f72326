"""Security bars 4 and 5: every reason for which a signal is not taken, each counted; and limits."""

from __future__ import annotations

import json
import logging

import pytest

from caliper_readtime import InMemoryStateStore, StoreUnavailable
from caliper_readtime._units import MAX_SECONDS
from caliper_readtime.stores._codec import dump_ledger, dump_views
from caliper_readtime.web.refusals import Refusal, Refusals, Refused
from caliper_readtime.web.signals import MAX_BODY, MAX_OPENED, MAX_TOTAL_MS, VERSION, parse
from caliper_readtime.web.tickets import GRACE_SECONDS, TICKET_SECONDS
from tests.web.sites import HOST, refusal

#: What one reader's time on one article may take after any abuse of a ticket, in bytes as stores write it.
MAX_STATE_BYTES = 8192


class Down(InMemoryStateStore):
    """A store that takes nothing."""

    def update(self, key, transition, now=None, /):
        raise StoreUnavailable("the store is down")


def message(ticket="x", **more):
    """A message, with None for what is left out."""
    said = {"s": VERSION, "k": ticket, "v": "v", "t": 1000, "b": 0, **more}
    return json.dumps({key: value for key, value in said.items() if value is not None})


def long_expired(site):
    ticket = site.ticket()
    site.clock.advance(TICKET_SECONDS + GRACE_SECONDS + 1)
    return site.log(ticket)


def boom(_):
    raise LookupError("the host's database is down: anna@example.org")


#: For each reason: what the site is like, what is sent, and the status.
CASES = {
    Refusal.FOREIGN_ORIGIN: ({}, lambda site: site.post(message(site.ticket()), Sec_Fetch_Site="cross-site"), 403),
    Refusal.CONTENT_TYPE: ({}, lambda site: site.post(message(site.ticket()), content_type="text/html"), 400),
    Refusal.EMPTY: ({}, lambda site: site.post(b""), 400),
    Refusal.UNREADABLE: ({}, lambda site: site.post(b"", Transfer_Encoding="chunked"), 503),
    Refusal.TOO_LARGE: ({}, lambda site: site.post(message(site.ticket()) + " " * MAX_BODY), 413),
    Refusal.NOT_JSON: ({}, lambda site: site.post(b"{"), 400),
    Refusal.UNKNOWN_VERSION: ({}, lambda site: site.log(site.ticket(), version=VERSION + 1), 400),
    Refusal.MALFORMED: ({}, lambda site: site.log(site.ticket(), view=""), 400),
    Refusal.TICKET_FORGED: ({}, lambda site: site.log(site.ticket() + "x"), 403),
    Refusal.TICKET_EXPIRED: ({}, long_expired, 403),
    Refusal.TICKET_FOREIGN: ({}, lambda site: site.log(site.ticket(application="staging")), 403),
    Refusal.UNKNOWN_READER: ({"reader": lambda _: None}, lambda site: site.read(site.ticket()), 403),
    Refusal.STORE_UNAVAILABLE: ({"store": Down()}, lambda site: site.read(site.ticket()), 503),
    Refusal.HOST_FAILED: ({"reader": boom}, lambda site: site.read(site.ticket()), 503),
}


@pytest.mark.parametrize("reason", [reason for reason in Refusal if reason is not Refusal.BEFORE_VIEW])
def test_every_reason(make_site, reason):
    """Each reason has its status and its word, is counted once, told to the host's hook, and changes nothing."""
    told = []
    parts, send, status = CASES[reason]
    site = make_site(on_refusal=told.append, **parts)
    answer = send(site)
    assert (answer.status_code, answer.json) == (status, refusal(reason))
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert {found: count for found, count in site.counter.refusals.counts().items() if count} == {reason: 1}
    assert told == [reason]
    assert reason.status == status
    assert site.tracker.states("anna") == ()


@pytest.mark.parametrize("reader", [None, lambda _: "anna@example.org", lambda sourced_id: 1 / 0])
def test_a_host_without_a_reader_keeps_the_scripts_record(make_site, reader):
    """A callback that is missing, raises or returns something else is the host's fault: 503, for later."""
    site = make_site(reader=reader)
    assert site.read(site.ticket()).status_code == 503
    assert site.counter.refusals.counts()[Refusal.HOST_FAILED] == 1


# Bodies


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Refusal.EMPTY),
        (b"x" * 1_000_000, Refusal.TOO_LARGE),
        (b" " * (MAX_BODY + 1), Refusal.TOO_LARGE),
        (b"\xff\xfe{}", Refusal.NOT_JSON),
        (b'{"s": 1, "k": "\xe9"}', Refusal.NOT_JSON),
        (b"\xef\xbb\xbf{}", Refusal.NOT_JSON),
        (b"[" * MAX_BODY, Refusal.NOT_JSON),
        (b'{"a":' * (MAX_BODY // 5), Refusal.NOT_JSON),
        (b'{"a":' * (MAX_BODY // 6) + b"1" + b"}" * (MAX_BODY // 6), Refusal.NOT_JSON),
        (b'{"s":1,"later":[1' + b",{}" * 1300 + b"]}", Refusal.NOT_JSON),
        (b'{"s":1' + b',"s":1' * 600 + b"}", Refusal.MALFORMED),
        (b'{"s":1,"k":"x","v":"v","t":' + b"9" * 4000 + b"}", Refusal.MALFORMED),
        (b'{"s":1,"k":"x","t":1,"v":"' + b"\\u0061" * 600 + b'"}', Refusal.MALFORMED),
        (b'{"s":' + b"9" * 4000 + b"}", Refusal.UNKNOWN_VERSION),
        (b'{"s": 1} {"s": 1}', Refusal.NOT_JSON),
        (b'{"s": 1, "t": NaN}', Refusal.NOT_JSON),
        (b'{"s": 1, "t": -Infinity}', Refusal.NOT_JSON),
        (b"[]", Refusal.MALFORMED),
        (b'"text"', Refusal.MALFORMED),
        (b"7", Refusal.MALFORMED),
        (b"null", Refusal.NOT_JSON),
        (b"{}", Refusal.UNKNOWN_VERSION),
        (b'{"s": 1}', Refusal.MALFORMED),
    ],
)
def test_bodies(site, body, reason):
    """0 bytes, 1 MB, invalid UTF-8, deep nesting, endless numbers, no JSON, other JSON: each has its reason."""
    answer = site.post(body)
    assert (answer.status_code, answer.json) == (reason.status, refusal(reason))


def test_deep_nesting_that_can_be_read(site):
    """Lists within lists as a value are no signal, however deep."""
    body = '{"s": 1, "k": ' + "[" * 50 + "]" * 50 + "}"
    assert site.post(body).json == refusal("malformed")


@pytest.mark.parametrize("later", [lambda n: "[" * n + "]" * n, lambda n: f"[{', '.join(['{}'] * (n - 1))}]"])
def test_a_message_of_exactly_as_many_brackets(later):
    """To the bracket: MAX_OPENED is taken, and one more is not, be it deep or wide."""
    head = '{"s": 1, "k": "x", "v": "v", "t": 1, "later": '
    most, more = (f"{head}{later(MAX_OPENED - 1 + one)}}}" for one in (0, 1))
    assert parse(most.encode()).view_id == "v"
    assert json.loads(more)
    with pytest.raises(Refused) as caught:
        parse(more.encode())
    assert caught.value.reason is Refusal.NOT_JSON


def test_a_version_of_thousands_of_digits_is_not_written_to_the_log():
    """Of a version that can be none, the log has no digit."""
    with pytest.raises(Refused) as caught:
        parse(b'{"s": ' + b"9" * 4000 + b"}")
    assert caught.value.detail == "no version"


@pytest.mark.parametrize("version", [0, 2, -1, "1", 1.0, True, None, [1]])
def test_versions_of_the_script(site, version):
    """Scripts of versions that the server does not know (older or newer) are told so, by number alone."""
    answer = site.log(site.ticket(), version=version)
    assert (answer.status_code, answer.json) == (400, refusal("unknown_version"))


@pytest.mark.parametrize(
    "more",
    [
        {"k": None}, {"k": 7}, {"k": ["x"]}, {"v": None}, {"v": 7}, {"v": ""}, {"v": "v" * 65}, {"v": "a\nb"},
        {"v": "\ud800"}, {"t": None}, {"t": "1000"}, {"t": 1.5}, {"t": True}, {"t": -1}, {"t": 10**12}, {"t": 10**400},
        {"t": [1]}, {"b": "0"}, {"b": -1}, {"b": 10**12}, {"b": 0.5}, {"b": False}, {"p": "0.5"}, {"p": -0.01},
        {"p": 1.01}, {"p": True}, {"p": 10**400}, {"c": 1}, {"c": "true"}, {"l": 0}, {"l": "yes"},
    ],
)  # fmt: skip
def test_wrong_types(site, more):
    """A field of another type, or out of its range, is malformed: nothing is converted."""
    answer = site.post(message(site.ticket(), **more))
    assert (answer.status_code, answer.json) == (400, refusal("malformed"))


def test_a_null_is_wrong_too(site):
    """A null is not the same as nothing."""
    for key in ("k", "v", "t", "b", "p", "c", "l"):
        said = {"s": 1, "k": "x", "v": "v", "t": 1, key: None}
        assert site.post(json.dumps(said)).json == refusal("malformed"), key


def test_unknown_fields_are_left_alone():
    """A later script may say more without a new version."""
    assert parse(message("ticket", later={"any": "thing"}).encode()).ticket == "ticket"


def test_a_message_of_exactly_the_limit():
    """To the byte: MAX_BODY is taken, one more is not."""
    body = message().encode()
    assert parse(body.ljust(MAX_BODY)).view_id == "v"
    with pytest.raises(Refused) as caught:
        parse(body.ljust(MAX_BODY + 1))
    assert caught.value.reason is Refusal.TOO_LARGE


@pytest.mark.parametrize("key", ["t", "b"])
def test_a_total_of_exactly_the_limit(key):
    """To the millisecond: what a tracker takes is taken, one more is not."""
    assert parse(message(**{key: MAX_TOTAL_MS}).encode()).view().active_seconds <= MAX_SECONDS
    with pytest.raises(Refused) as caught:
        parse(message(**{key: MAX_TOTAL_MS + 1}).encode())
    assert caught.value.reason is Refusal.MALFORMED


@pytest.mark.parametrize("kind", ["", "text/html", "application/x-www-form-urlencoded", "multipart/form-data", "text"])
def test_other_content_types(site, kind):
    """Only what the script sends is taken."""
    assert site.post(message(site.ticket()), content_type=kind).json == refusal("content_type")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(site, method):
    """Signals are POSTed."""
    assert site.client.open("/readtime/signals", method=method, base_url=f"http://{HOST}").status_code == 405


# Origins

OWN = f"http://{HOST}"


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "null"}, True),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"}, True),
        ({"Origin": OWN}, True),
        ({"Origin": f"https://{HOST}"}, True),
        ({"Origin": OWN.upper()}, True),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": f"https://{HOST}.evil.example"}, False),
        ({"Origin": f"https://evil.example/{HOST}"}, False),
        ({"Origin": f"http://{HOST}:8000"}, False),
        ({"Origin": "http://[evil"}, False),
        ({"Origin": ""}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": OWN}, False),
        ({"Sec_Fetch_Site": "same-site", "Origin": f"https://other.{HOST}"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
    ],
)
def test_origins(site, headers, taken):
    """Sec-Fetch-Site goes first, so that "Origin: null" of the host's own pages is taken; Origin only without it."""
    ticket = site.ticket()
    site.clock.advance(10)
    answer = site.post(message(ticket, t=10_000), **headers)
    assert answer.status_code == (204 if taken else 403)
    assert site.seconds() == (10 if taken else 0)


@pytest.mark.parametrize(
    ("port", "origin", "taken"),
    [
        ("80", OWN, True),
        ("443", f"https://{HOST}", True),
        ("8000", OWN, False),
        ("8000", f"{OWN}:8000", True),
        ("80", "null", False),
        ("80", "https://evil.example", False),
    ],
)
def test_a_proxy_that_names_the_port(site, port, origin, taken):
    """Of a host with a scheme's own port is a page whose Origin leaves that out, as browsers do."""
    answer = site.post(message(site.ticket()), Origin=origin, Host=f"{HOST}:{port}")
    assert answer.status_code == (204 if taken else 403)


@pytest.mark.parametrize("site_says", [None, "same-site", "cross-site"])
@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("https://reader.example.com", True),
        ("https://a.school.example.com", True),
        ("https://a.b.school.example.com", True),
        ("https://school.example.com", False),
        ("https://evilschool.example.com", False),
        ("http://reader.example.com", False),
        ("https://reader.example.com:444", False),
    ],
)
def test_trusted_origins(make_site, origin, taken, site_says):
    """Origins that the host trusts may send, whatever Sec-Fetch-Site says of them."""
    trusted = ["https://reader.example.com", "https://*.school.example.com"]
    site = make_site(settings={"TRUSTED_ORIGINS": trusted})
    headers = {"Origin": origin} | ({} if site_says is None else {"Sec_Fetch_Site": site_says})
    answers = [site.post(body, **headers) for body in (message(site.ticket()), message("forged"))]
    assert [answer.status_code for answer in answers] == [204 if taken else 403, 403]
    # Their pages' scripts must see the answers, or no signal is ever acknowledged there; others are told why not.
    shown = {(answer.headers.get("Access-Control-Allow-Origin"), answer.headers.get("Vary")) for answer in answers}
    assert shown == {(origin, "Origin")}
    if not taken:
        assert [answer.json for answer in answers] == [refusal("foreign_origin")] * 2


@pytest.mark.parametrize("trusted", [False, True])
def test_pages_without_an_origin(make_site, trusted):
    """A sandboxed frame says "Origin: null": taken where TRUST_NULL_ORIGIN lets tickets decide alone.

    WebKit's beacon from there names the host itself, as no other page's can.
    """
    site = make_site(settings={"TRUST_NULL_ORIGIN": trusted})
    answer = site.post(message(site.ticket()), Origin="null", Sec_Fetch_Site="cross-site")
    assert answer.status_code == (204 if trusted else 403)
    assert answer.headers["Access-Control-Allow-Origin"] == "null"  # its script tells why
    assert site.counter.refusals.counts()[Refusal.FOREIGN_ORIGIN] == (not trusted)
    assert site.post(message("forged"), Origin="null").status_code == 403
    beacon = {"Origin": f"http://{HOST}", "Sec_Fetch_Site": "cross-site"}
    assert site.post(message(site.ticket()), **beacon).status_code == answer.status_code
    assert site.post(message(site.ticket()), **beacon | {"Origin": "http://other.example"}).status_code == 403


# Abuse of a ticket that is good


@pytest.mark.proof
def test_ten_thousand_forged_views(site):
    """Replays and invented views bring no more than wall time, and a state of bounded size."""
    ticket = site.ticket()
    opened = site.clock()
    for n in range(10_000):
        site.clock.advance(0.01)
        body = message(ticket, v=f"{n:064d}", t=3_600_000, l=n % 100 == 0 or None, c=n % 50 == 0 or None)
        assert site.post(body).status_code == 204
    for _ in range(100):
        assert site.post(body).status_code == 204
    wall = (site.clock() - opened).total_seconds()
    policy = site.tracker.policy
    assert wall - 1 <= site.seconds() <= wall + policy.heartbeat_seconds + policy.leeway_seconds
    assert site.emitter.seconds("anna", "owls") <= site.seconds()
    state = site.store.load(("anna", "owls"), site.tracker._delivery.leases.now())
    size = len(dump_ledger(state.ledger)) + len(dump_views(state.meter.views)) + len(repr(state.meter))
    assert 1000 < size < MAX_STATE_BYTES
    assert len(site.store.keys("anna", site.tracker._delivery.leases.now())) == 1


# Counting


def test_a_flood_writes_few_lines(caplog):
    """A reason's 1st, 10th, 100th … refusal is logged, whatever comes in between."""
    refusals = Refusals()
    with caplog.at_level(logging.WARNING, "caliper_readtime"):
        for _ in range(2500):
            refusals.count(Refused(Refusal.NOT_JSON))
    assert [record.count for record in caplog.records] == [1, 10, 100, 1000]
    assert refusals.counts()[Refusal.NOT_JSON] == 2500


def test_frameworks_do_not_log_each_refusal(make_site, caplog):
    """Nor does a framework log (or mail) each of them by itself."""
    site = make_site(store=Down())
    ticket = site.ticket()
    for _ in range(5):
        site.post(b"")
        site.log(ticket)
    reasons = [record.reason for record in caplog.records if hasattr(record, "reason")]
    assert sorted(reasons) == ["empty", "store_unavailable"]
    assert len(caplog.records) <= 3  # and the tracker's own line, once a minute


def test_a_hook_that_fails_costs_nothing(make_site, caplog):
    """The host's metrics may fail; the answer is the same."""
    site = make_site(on_refusal=boom)
    assert site.post(b"").json == refusal("empty")
    assert "on_refusal failed" in caplog.text
