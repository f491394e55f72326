"""Security bar 6 for pages: canaries in everything secret, and none of them in logs, answers, reprs or errors."""

from __future__ import annotations

import json
import logging

import pytest

from caliper_readtime import EmitterUnavailable, InMemoryStateStore, Reader, StoreUnavailable
from caliper_readtime.web.refusals import Refused
from caliper_readtime.web.signals import parse
from tests.redaction import Everything, chain

MAIL, SECRET, BODY = (f"canary-{name}-5e1d" for name in ("mail", "secret-of-ours", "body"))
SECRETS = (SECRET, f"{SECRET}-older")


@pytest.fixture
def heard():
    """All that is logged at DEBUG, by the package, by the framework and by whatever they call."""
    handler, root = Everything(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.said
    root.removeHandler(handler)
    root.setLevel(before)


class Flaky(InMemoryStateStore):
    """A store that is down when told so."""

    down = False

    def update(self, key, transition, now=None, /):
        if self.down:
            raise StoreUnavailable("the store is down")
        return super().update(key, transition, now)


def reader(sourced_id):
    if sourced_id == "broken":
        raise LookupError(f"no connection while looking for {MAIL}@example.org")
    return Reader(sourced_id, f"{MAIL}@example.org") if sourced_id == "anna" else None


def test_no_canary_sings(make_site, heard):
    """Through every kind of signal and every refusal: no address, no secret, no ticket, no body comes out."""
    store = Flaky()
    site = make_site(secrets=SECRETS, reader=reader, store=store)
    tickets = [site.ticket(name) for name in ("anna", "nobody", "broken")]
    answers = []
    for ticket in tickets:
        for more in ({}, {"l": True}, {"c": True}, {"v": BODY * 5}, {"p": BODY}, {"s": 7}):
            site.clock.advance(10)
            answers.append(site.post(json.dumps({"s": 1, "k": ticket, "v": "v", "t": 60_000, **more})))
    site.emitter.fail(EmitterUnavailable("down"))
    site.clock.advance(10)
    answers.append(site.log(tickets[0], 300, l=True))
    store.down = True
    answers.append(site.log(tickets[0], 400))
    bodies = (
        BODY,
        BODY.encode() + b"\xff",
        json.dumps({"s": 1, "k": tickets[0] + "x", "v": BODY, "t": 1}),
        f'["{BODY}"]',
    )
    answers += [site.post(body) for body in bodies]
    answers.append(site.post(b"{}", Origin=f"https://{BODY}.example", Cookie=BODY))
    answers.append(site.get("/readtime/health"))
    assert {answer.status_code for answer in answers} == {200, 204, 400, 403, 503}
    said = "\n".join([*heard, *(answer.text for answer in answers)])
    for canary in (MAIL, SECRET, BODY, *tickets):
        assert canary not in said
    assert "signals refused" in said
    assert "anna" in said


def test_nothing_secret_is_shown(make_site):
    """Neither the settings nor the parts of a host show a secret; a signal does not show its ticket."""
    site = make_site(settings={"SECRETS": list(SECRETS)})
    counter = site.counter
    signal = parse(json.dumps({"s": 1, "k": BODY, "v": "v", "t": 1}).encode())
    shown = repr([vars(counter), counter.settings, vars(counter.tickets), vars(counter.tickets._signer), signal])
    assert SECRET not in shown
    assert BODY not in shown


@pytest.mark.parametrize("body", [BODY.encode(), BODY.encode() + b"\xff", b'{"s": 1, "k": "%s"}' % BODY.encode()])
def test_errors_chain_nothing(make_site, body):
    """An error of the parser or of a ticket quotes nothing, and stands on nothing that does."""
    site = make_site()
    for call in (
        lambda: parse(body),
        lambda: site.counter.tickets.verify(BODY, site.clock()),
        lambda: site.counter.tickets.verify("é" + BODY, site.clock()),
    ):
        with pytest.raises(Refused) as caught:
            call()
        for error in chain(caught.value):
            assert BODY not in f"{error!r} {error}"
