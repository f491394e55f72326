"""What a ticket that was stolen, kept or taken elsewhere brings: hours counted, over Flask and Django."""

from __future__ import annotations

import json
import logging

import attrs
import pytest

from caliper_readtime import ReadTimeTracker
from caliper_readtime._settings import LIFE_SECONDS
from caliper_readtime.testing import FlakyEmitter
from caliper_readtime.web.tickets import GRACE_SECONDS, TICKET_SECONDS, application_of
from tests.scenes import events
from tests.web.sites import OWLS, READERS, refusal

HOUR = 3600.0
SLACK = 15  # a heartbeat and the leeway


def steal(site, ticket, days, *, view="view-{}", reads=1.0):
    """Tell of an hour of reading each hour, under whatever fresh ticket comes; return the hours that were counted."""
    statuses = []
    for hour in range(days * 24):
        site.clock.advance(HOUR)
        answer = site.log(ticket, reads * HOUR * (hour + 1), view=view.format(hour))
        ticket = answer.json["k"] if answer.status_code == 200 else ticket
        statuses.append(answer.status_code)
    assert statuses[0] == 204
    assert statuses[-1] == 403, "it ends"
    return site.seconds() / HOUR


# It ends


def test_a_stolen_ticket_ends(make_site):
    """S7: renewed as often as it can be, it brings a day from its opening, and the host was asked each time."""
    asked = []
    site = make_site(reader=lambda name: asked.append(name) or READERS[name])
    assert steal(site, site.ticket(), days=40, view="one") <= (LIFE_SECONDS + SLACK) / HOUR
    assert site.seconds() >= LIFE_SECONDS - HOUR
    assert len(asked) == 1 + 2, "for the address, and for each fresh ticket: after 7 and after 14 hours"


def test_an_expired_ticket_earns_nothing_through_new_views(make_site):
    """S7: over all its views, invented in its grace period, it brings no more than what it was good for."""
    site = make_site(reader=lambda name: None if site.clock() != opened else READERS[name])
    opened = site.clock()
    site.log(site.ticket(), 0, view="first")  # the address is known, and then the reader is gone: nothing is renewed
    assert steal(site, site.ticket(), days=9) <= (TICKET_SECONDS + SLACK) / HOUR


@pytest.mark.parametrize("late", [1.0, 24 * HOUR, GRACE_SECONDS - 1])
def test_what_was_read_before_the_end_still_counts(make_site, late):
    """An honest page that was offline brings all it read while its ticket was good, as late as the grace period."""
    site = make_site()
    ticket = site.ticket()
    site.read(ticket, 60, acked=0)
    site.clock.advance(TICKET_SECONDS - 60 + late)
    assert site.log(ticket, 2 * HOUR).status_code == 204
    assert site.seconds() == 2 * HOUR
    assert site.tracker.state("anna", "owls").last_server_sync_at == site.opened(ticket).expires_at


def test_a_late_replay_takes_nothing_from_a_page_that_is_read(make_site):
    """B9: the time of an old ticket ends in the past, so the new page's goes on unclamped."""
    site = make_site()
    old = site.ticket()
    site.read(old, 10)
    site.clock.advance(TICKET_SECONDS)
    new = site.ticket()
    site.clock.advance(50)
    site.log(new, 50, view="view-2")
    site.log(old, 20)
    site.clock.advance(50)
    site.log(new, 100, view="view-2")
    assert site.seconds() == 110 + 10
    assert site.tracker.state("anna", "owls").clamped_seconds == 0


def test_a_reader_who_is_gone_gets_no_fresh_ticket(make_site, caplog):
    """The host is asked before each renewal: whom it does not know any more reads on until the ticket's end."""
    known = dict(READERS)
    site = make_site(reader=known.get)
    ticket = site.ticket()
    site.read(ticket, 10)
    known.clear()
    site.clock.advance(TICKET_SECONDS * 0.75)
    with caplog.at_level(logging.WARNING, "caliper_readtime"):
        assert site.log(ticket, 20).status_code == 204
    assert "a page's ticket is not renewed detail=the setting READER knows no reader anna" in caplog.text
    assert site.seconds() == 20
    site.counter._reader = READERS.get  # a minute later, they are known again
    assert site.log(ticket, 20).status_code == 200


def test_without_a_reader_setting_tickets_are_renewed(make_site):
    """A host that tells the addresses itself has nobody to ask."""
    site = make_site(reader=None)
    site.tracker.accumulate(READERS["anna"], OWLS, 0)
    ticket = site.ticket()
    site.clock.advance(TICKET_SECONDS * 0.75)
    assert site.log(ticket, 20).status_code == 200


def test_a_ticket_older_than_what_the_store_remembers(make_site):
    """S9: where a settled state is kept for a shorter time than the grace period, what is older brings nothing."""
    from caliper_readtime import ReadTimePolicy  # noqa: PLC0415

    site = make_site(policy=ReadTimePolicy(state_ttl_seconds=2 * 86400))
    ticket = site.ticket()
    site.clock.advance(2 * 86400)
    answer = site.log(ticket, HOUR)
    assert (answer.status_code, answer.json["error"], site.seconds()) == (403, "ticket_expired", 0)


# It is good here alone


def elsewhere(site, **more):
    """A tracker of another installation on a store of its own, and what its tickets say of it."""
    other = events(**more)
    return ReadTimeTracker(type(site.store)(), FlakyEmitter(), other, clock=site.clock), application_of(other)


@pytest.mark.parametrize(
    "more", [{"sensor": "https://staging.example.org"}, {"oneroster_url": "https://roster.staging.example.org"}]
)
def test_a_staging_ticket_is_none_in_production(site, more):
    """Signed with the same secret, for the same reader and article: refused, and nothing of it is stored."""
    ticket = site.ticket()
    site.read(ticket, 10)
    _, application = elsewhere(site, **more)
    staged = site.ticket(
        what=attrs.evolve(OWLS, title="Staging", url="https://staging.example.org/owls"), application=application
    )
    site.clock.advance(10)
    answer = site.log(staged, 10, view="view-2")
    assert (answer.status_code, answer.json) == (403, refusal("ticket_foreign"))
    assert site.seconds() == 10
    site.log(ticket, 20, l=True)
    assert [event["object"]["activity"]["name"] for event in site.emitter.events] == ["Owls"]


def test_a_ticket_can_be_bound_to_a_session(make_site):
    """With the setting SESSION a ticket is good in its own session alone: a stolen one is refused, unread."""
    site = make_site(settings={"SESSION": lambda request: request.headers.get("X-Session")})
    ticket = site.ticket(session="anna's")
    site.clock.advance(10)
    body = json.dumps({"s": 1, "k": ticket, "v": "v", "t": 10_000})
    assert [site.post(body, X_Session=name).status_code for name in ("ben's", "")] == [403, 403]
    assert site.post(body).json == refusal("ticket_foreign")
    assert site.seconds() == 0
    assert site.post(body, X_Session="anna's").status_code == 204
    assert "anna's" not in ticket


def test_a_session_that_cannot_be_found_out(make_site, caplog):
    """A function that fails is the host's fault: the script keeps its record; what it raised is not quoted."""

    def broken(request):
        raise LookupError("secret")

    site = make_site(settings={"SESSION": broken})
    answer = site.log(site.ticket(session="x"), 1)
    assert (answer.status_code, answer.json["error"]) == (503, "host_failed")
    assert "the setting SESSION raised LookupError" in caplog.text
    assert "secret" not in caplog.text


# It does not turn time back


def test_an_older_ticket_never_overwrites_newer_context(site):
    """S15: a page that was opened before the title was corrected goes on counting, and leaves the title alone."""
    old = site.ticket()
    site.read(old, 10)
    new = site.ticket(what=attrs.evolve(OWLS, title="Owls, corrected"))
    site.read(new, 10, view="view-2")
    site.clock.advance(10)
    site.log(old, 20)
    site.log(old, 0, view="view-3")
    site.clock.advance(10)
    site.log(old, 30, l=True)
    assert site.seconds() == 40
    assert [event["object"]["activity"]["name"] for event in site.emitter.events] == ["Owls, corrected"]


def test_nor_what_the_host_itself_has_corrected(site):
    """S15: a host's own word is newer than every page that was open then."""
    ticket = site.ticket()
    site.read(ticket, 10)
    site.tracker.partial(READERS["anna"], attrs.evolve(OWLS, title="Owls, corrected"))
    site.read(ticket, 20, l=True)
    names = [event["object"]["activity"]["name"] for event in site.emitter.events]
    assert names == ["Owls, corrected"] * 2


def test_per_article_nobody_gets_more_than_wall_time(site):
    """B8: two articles open at once, each with its own ticket, are two budgets of wall time: one for each article."""
    tickets = [site.ticket(what=what) for what in (OWLS, attrs.evolve(OWLS, resource_id="bees"))]
    site.clock.advance(60)
    for ticket in tickets:
        site.log(ticket, HOUR)
    assert 60 <= site.seconds() <= 60 + SLACK
    assert 60 <= site.seconds(what=attrs.evolve(OWLS, resource_id="bees")) <= 60 + SLACK
