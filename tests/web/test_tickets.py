"""Security bars 1 and 2: forged, swapped, expired, replayed and rotated tickets, over Flask and Django."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta
from hashlib import sha256

import attrs
import pytest
from itsdangerous import URLSafeSerializer

from caliper_readtime import Activity, Article, ConfigurationError, Course, InvalidInput, Subject
from caliper_readtime.web import tickets as module
from caliper_readtime.web.refusals import Refusal, Refused
from caliper_readtime.web.signals import MAX_BODY
from caliper_readtime.web.tickets import (
    CACHED,
    GRACE_SECONDS,
    MAX_TICKET,
    MIN_SECRET,
    SALT,
    TICKET_SECONDS,
    ItsdangerousSigner,
    Tickets,
)
from tests.scenes import ANNA, BEES, START
from tests.web.sites import OWLS, refusal, setup_django

NEW, OLD, GONE = ("new-secret-0123456789", "old-secret-0123456789", "gone-secret-0123456789")
FULL = Article("nice_x1", "Eulen — 猫头鹰", "https://a.example.org/1?q=2", Course("C", "c1"), Subject.SCIENCE)
VIDEO = Activity("nice_v1", "Eulen", "https://a.example.org/v", kind="video", attempt=3, extensions={"runId": "ü"})


def django_signer(secrets):
    setup_django()
    from caliper_readtime.web.django.signing import DjangoSigner  # noqa: PLC0415

    return DjangoSigner(secrets)


@pytest.fixture(params=[ItsdangerousSigner, django_signer])
def make_signer(request):
    """Both adapters' signers."""
    return request.param


@pytest.fixture
def tickets(make_signer):
    """Tickets of one secret."""
    return Tickets(make_signer([NEW]))


def refused(tickets, text):
    """The reason for which a ticket is not taken."""
    with pytest.raises(Refused) as caught:
        tickets.verify(text, START)
    return caught.value.reason


def altered(text):
    """A ticket with each of some of its characters changed in turn."""
    for place in range(0, len(text), 7):
        yield text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


# What it says


@pytest.mark.parametrize("duration", [None, 300.5])
@pytest.mark.parametrize("what", [OWLS, FULL, VIDEO, attrs.evolve(FULL, words=800)])
def test_a_ticket_says_what_it_was_issued_for(tickets, what, duration):
    """Reader, article with everything in it, opening, expiry and length come back as they were."""
    ticket = tickets.verify(tickets.issue(ANNA, what, START, duration_seconds=duration), START)
    assert (ticket.reader_sourced_id, ticket.article, ticket.duration_seconds) == ("anna", what, duration)
    assert ticket.opened_at == START
    assert (ticket.expires_at - ticket.opened_at).total_seconds() == TICKET_SECONDS


def test_a_ticket_holds_no_address(make_signer):
    """Readable as it is, a ticket shows no e-mail address and no secret."""
    text = Tickets(make_signer([NEW])).issue(ANNA, OWLS, START)
    payload = text.lstrip(".").partition(".")[0].partition(":")[0]
    shown = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)) + text.encode()
    assert b"example.org" not in shown or b"anna@" not in shown
    assert NEW.encode() not in shown
    assert b"@" not in shown


def test_a_ticket_is_url_safe_ascii(tickets):
    """It fits into an attribute and a message as it is."""
    text = tickets.issue(ANNA, FULL, START)
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


@pytest.mark.parametrize(
    ("reader", "what", "more"),
    [("", OWLS, {}), (None, OWLS, {}), (7, OWLS, {}), (ANNA, "owls", {}), (ANNA, None, {})]
    + [(ANNA, OWLS, {"duration_seconds": bad}) for bad in (-1, float("nan"), True, "5")],
)
def test_bad_values_are_refused(tickets, reader, what, more):
    """A ticket is issued for a reader, an article and a length, or not at all."""
    with pytest.raises(InvalidInput):
        tickets.issue(reader, what, START, **more)


def test_a_ticket_fits_into_a_message(tickets):
    """What does not fit is refused when the page is rendered; what fits leaves room for the rest."""
    noise = b"".join(sha256(bytes([n])).digest() for n in range(160))  # it cannot be compressed
    long = base64.urlsafe_b64encode(noise).decode()
    words = "".join(chr(0x4E00 + high * 64 + low % 64) for high, low in zip(noise[::2], noise[1::2], strict=True))
    with pytest.raises(InvalidInput) as caught:
        tickets.issue(ANNA, Article("x", words[:1000], f"https://a.example.org/{long[:2000]}"), START)
    assert caught.value.field == "article"
    text = tickets.issue(ANNA, Article("x", long[:1000], f"https://a.example.org/{long[2000:2900]}"), START)
    assert 2000 < len(text) <= MAX_TICKET
    rest = json.dumps({"s": 1, "k": "", "v": "v" * 64, "t": 10**12, "b": 10**12, "p": 0.999, "c": True, "l": True})
    assert MAX_TICKET + len(rest) <= MAX_BODY


# Forged and swapped


def test_forged_tickets(tickets):
    """A ticket with a character changed, a part cut off, or another's signature is refused; so is anything else."""
    text = tickets.issue(ANNA, OWLS, START)
    others = tickets.issue("ben", BEES, START)
    mark = "." if "." in text.lstrip(".") else ":"
    swapped = text.rpartition(mark)[0] + mark + others.rpartition(mark)[2]
    for forged in [
        *altered(text),
        text[:-1],
        text[1:],
        text + "A",
        swapped,
        "",
        ".",
        "::",
        "null",
        "é",
        "\ud800",
        "A" * 9999,
    ]:
        assert refused(tickets, forged) is Refusal.TICKET_FORGED
    assert tickets.verify(text, START).reader_sourced_id == "anna"


def test_a_ticket_has_one_spelling(tickets):
    """Base64 that decodes to the right signature but is written otherwise is refused, and not remembered."""
    text = tickets.issue(ANNA, OWLS, START)
    tickets.verify(text, START)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [text[:-1] + letter for letter in letters if letter != text[-1]]
    others += [text + more for more in ("=", "====", "!", "=A", " ", "\n")] + [text[:-5] + "~" + text[-5:]]
    assert {refused(tickets, other) for other in others} == {Refusal.TICKET_FORGED}
    assert tickets._opened.cache_info().currsize == 1


def test_other_signatures_of_the_same_secret_are_no_tickets(make_signer):
    """Own salt: what the host's framework signs with the same secret (sessions, mails) is no ticket."""
    tickets = Tickets(make_signer([NEW]))
    fields = [1, "anna", 0, 10**13, None, "owls", "Owls", "https://a.example.org", "None", None, None]
    setup_django()
    from django.core import signing  # noqa: PLC0415

    for text in (
        URLSafeSerializer(NEW, salt="cookie-session").dumps(fields),
        URLSafeSerializer(NEW, salt=SALT).dumps(fields),  # SHA-1 and django-concat, the defaults
        signing.dumps(fields, key=NEW),
        signing.Signer(key=NEW).sign_object(fields),
    ):
        assert refused(tickets, text) is Refusal.TICKET_FORGED


def test_the_signature_is_hmac_sha256():
    """By hand: SHA-256, hmac key derivation, the salt named here."""
    payload, _, signature = ItsdangerousSigner([NEW]).sign(["x"]).rpartition(".")
    key = hmac.new(NEW.encode(), SALT.encode(), sha256).digest()
    expected = base64.urlsafe_b64encode(hmac.new(key, payload.encode(), sha256).digest()).rstrip(b"=")
    assert signature.encode() == expected
    django = django_signer([NEW])._signer
    assert (django.salt, django.algorithm) == (SALT, "sha256")


def test_a_signed_ticket_of_another_layout(make_signer):
    """A ticket that another release has signed otherwise is refused, not misread."""
    signer = make_signer([NEW])
    for value in ([2, "anna"], "anna", None, {}, [], [1], [1, "anna", "x"]):
        assert refused(Tickets(signer), signer.sign(value)) is Refusal.TICKET_FORGED


@pytest.mark.parametrize("more", [[{"colour": "red"}], [{}, {}], ["video"], [{"kind": ""}], [{"words": "800"}]])
def test_a_signed_ticket_of_a_newer_version(make_signer, more):
    """What it says of the activity beyond what is known here makes it no ticket, and nothing worse."""
    signer = make_signer([NEW])
    fields = signer.unsign(Tickets(signer).issue(ANNA, OWLS, START))
    assert Tickets(signer).verify(signer.sign(fields), START).article == OWLS
    assert refused(Tickets(signer), signer.sign([*fields, *more])) is Refusal.TICKET_FORGED


def test_a_swapped_ticket_counts_for_whom_it_was_issued(site):
    """Another reader's or article's ticket brings time to them alone; what a message says cannot change it."""
    annas, bens = site.ticket("anna"), site.ticket("ben")
    site.clock.advance(10)
    site.log(bens, 10, reader="anna", r="anna", article="bees")
    assert (site.seconds("anna"), site.seconds("ben")) == (0, 10)
    site.log(annas, 10)
    assert (site.seconds("anna"), site.seconds("ben")) == (10, 10)


def test_forged_tickets_over_http(site):
    """403, counted, and no state is born."""
    text = site.ticket()
    for forged in [*altered(text), ""]:
        answer = site.log(forged, 10)
        assert (answer.status_code, answer.json) == (403, refusal("ticket_forged"))
    assert site.tracker.states("anna") == ()


# Expiry, renewal, replay


def test_a_late_replay_brings_what_was_read_before_expiry(site):
    """Within the grace period a total counts, up to what can have been read while the ticket was good."""
    ticket = site.ticket()
    site.read(ticket, 60)
    site.clock.advance(TICKET_SECONDS + GRACE_SECONDS - 120)
    assert site.log(ticket, 300, acked=60).status_code == 204
    assert site.seconds() == 300
    site.log(ticket, TICKET_SECONDS + 1000, view="view-2")
    assert site.seconds() <= 300 + TICKET_SECONDS
    assert site.tracker.state("anna", "owls").clamped_seconds <= TICKET_SECONDS


def test_a_late_replay_never_brings_more_than_the_tickets_time(make_site):
    """The most that an expired ticket brings is expiry - opening, though more wall time has passed."""
    site = make_site(settings={"TICKET_SECONDS": 600})
    ticket = site.ticket()
    site.clock.advance(5000)
    assert site.log(ticket, 5000).status_code == 204
    assert site.seconds() == 600


def test_after_the_grace_period_a_ticket_is_nothing(site):
    """To the millisecond: the grace period's last one is taken, the next is 403, and nothing changes."""
    ticket = site.ticket()
    site.read(ticket, 10)
    site.clock.advance(TICKET_SECONDS + GRACE_SECONDS - 10)
    assert site.log(ticket, 20).status_code == 204
    site.clock.advance(0.001)
    before = site.tracker._store.load(("anna", "owls"), site.tracker._delivery.leases.now())
    answer = site.log(ticket, 30)
    assert (answer.status_code, answer.json) == (403, refusal("ticket_expired"))
    assert site.tracker._store.load(("anna", "owls"), site.tracker._delivery.leases.now()) == before


def test_a_long_read_is_given_fresh_tickets(make_site):
    """From half of its time on a ticket is answered 200 with a fresh one for the same opening; a leave is not."""
    site = make_site(settings={"TICKET_SECONDS": 100})
    ticket = site.ticket()
    site.clock.advance(50)
    assert site.log(ticket, 50).status_code == 204
    site.clock.advance(1)
    assert site.log(ticket, 51, l=True).status_code == 204
    answer = site.log(ticket, 51)
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    fresh = answer.json["k"]
    old, new = (site.opened(text) for text in (ticket, fresh))
    assert attrs.evolve(new, expires_at=old.expires_at) == old
    assert (new.expires_at - site.clock()).total_seconds() == 100
    site.clock.advance(99)
    answer = site.log(fresh, 150)
    assert (answer.status_code, site.seconds()) == (200, 150)


def test_an_expired_ticket_is_not_renewed(make_site):
    """A replay within the grace period brings time, and no new ticket."""
    site = make_site(settings={"TICKET_SECONDS": 100})
    ticket = site.ticket()
    site.clock.advance(101)
    assert site.log(ticket, 50).status_code == 204


def test_replays_change_nothing(site):
    """The same message a hundred times is the same state, byte for byte."""
    ticket = site.ticket()
    site.read(ticket, 10)
    key, now = ("anna", "owls"), site.tracker._delivery.leases.now()
    before = site.store.load(key, now)
    assert {site.log(ticket, 10).status_code for _ in range(100)} == {204}
    assert site.store.load(key, now) == before


# Rotation


def test_rotation(make_signer):
    """The newest secret signs, an old one verifies, a removed one fails."""
    before = Tickets(make_signer([OLD]))
    during = Tickets(make_signer([NEW, OLD]))
    after = Tickets(make_signer([NEW]))
    old, new = before.issue(ANNA, OWLS, START), during.issue(ANNA, OWLS, START)
    assert during.verify(old, START).reader_sourced_id == "anna"
    assert after.verify(new, START).reader_sourced_id == "anna"
    assert refused(before, new) is Refusal.TICKET_FORGED
    assert refused(after, old) is Refusal.TICKET_FORGED
    renewed = during.verify(old, START)
    later = START + timedelta(seconds=TICKET_SECONDS * 0.75)
    assert after.verify(during.renew(renewed, later), later).opened_at == renewed.opened_at


def test_rotation_of_the_frameworks_secrets(make_site):
    """Rotated by SECRET_KEY and SECRET_KEY_FALLBACKS, as hosts rotate them."""
    before = make_site(secrets=(OLD,)).ticket()
    during = make_site(secrets=(NEW, OLD))
    assert during.read(before, 10).status_code == 204
    new = during.ticket()
    after = make_site(secrets=(NEW,))
    assert after.read(new, 10).status_code == 204
    assert after.log(before, 20).status_code == 403
    assert make_site(secrets=(OLD,)).log(new, 20).status_code == 403


def test_rotation_of_secrets_of_our_own(make_site):
    """Rotated by the setting SECRETS: the framework's secret then signs and verifies no ticket."""
    old = make_site(settings={"SECRETS": [OLD]}).ticket()
    during = make_site(settings={"SECRETS": f"{NEW} {OLD}"})
    new = during.ticket()
    assert during.read(old, 10).status_code == 204
    after = make_site(settings={"SECRETS": [NEW]})
    assert (after.read(new, 10).status_code, after.log(old, 20).status_code) == (204, 403)
    frameworks = make_site().ticket()
    assert make_site(settings={"SECRETS": [NEW]}).log(frameworks, 20).status_code == 403


@pytest.mark.parametrize("secrets", [[], "a-secret-as-text-0123456789", None, ["s" * (MIN_SECRET - 1)], [NEW, ""], [7]])
def test_secrets_must_be_secrets(make_signer, secrets):
    """No secret, one secret in place of a list, or a short one is a configuration error that quotes none."""
    with pytest.raises(ConfigurationError) as caught:
        module.checked_secrets(secrets)
    assert "a-secret" not in str(caught.value)
    assert len(module.checked_secrets(["s" * MIN_SECRET])) == 1
    with pytest.raises(ConfigurationError):
        make_signer(["short"])


# Limits


@pytest.mark.parametrize(
    "bad", [{"ticket_seconds": 0}, {"ticket_seconds": -1}, {"grace_seconds": float("nan")}, {"grace_seconds": True}]
)
def test_times_must_be_times(bad):
    """A ticket's times are numbers of seconds."""
    with pytest.raises(ConfigurationError):
        Tickets(ItsdangerousSigner([NEW]), **bad)


def test_verified_tickets_are_remembered_and_forged_ones_are_not():
    """A steady page's ticket is verified once; the memory is bounded, and forgeries do not get into it."""
    signer = ItsdangerousSigner([NEW])
    tickets = Tickets(signer)
    text = tickets.issue(ANNA, OWLS, START)
    assert tickets.verify(text, START) is tickets.verify(text, START)
    for n in range(50):
        refused(tickets, f"{text}{n}")
    assert tickets._opened.cache_info().currsize == 1
    for n in range(CACHED + 10):
        tickets.verify(tickets.issue(f"reader-{n}", OWLS, START), START)
    assert tickets._opened.cache_info().currsize == CACHED
