"""What a signal does, over Flask and Django."""

from __future__ import annotations

import json

import attrs
import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, InMemoryStateStore, ReadTimePolicy, StoreUnavailable
from caliper_readtime.web._readers import UNKNOWN_READERS, UNKNOWN_SECONDS, remembering
from caliper_readtime.web.page_counter import RETRY_AFTER_SECONDS
from tests.backends import STORES
from tests.scenes import BEN, KINDS, article
from tests.web.sites import OWLS, READERS, refusal


def test_a_signal_is_counted(site):
    """A running total under a good ticket is accepted with 204, and nothing else to say."""
    ticket = site.ticket()
    answer = site.read(ticket, 10)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert site.seconds() == 10
    state = site.tracker.state("anna", "owls")
    assert (state.first_server_sync_at, state.clamped_seconds) == (site.clock(), 0)


@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=UTF-8", "application/json", "Application/JSON"])
def test_both_content_types(site, kind):
    """A beacon's text/plain and a fetch's application/json are the same."""
    site.clock.advance(4)
    body = json.dumps({"s": 1, "k": site.ticket(), "v": "v", "t": 4000})
    assert site.post(body, content_type=kind).status_code == 204
    assert site.seconds() == 4


def test_totals_heal(site):
    """Lost, doubled and reordered signals come to the newest total."""
    ticket = site.ticket()
    site.clock.advance(30)
    for total in (5, 20, 20, 10, 30, 5):
        assert site.log(ticket, total).status_code == 204
    assert site.seconds() == 30


def test_the_opening_counts_from_the_ticket(site):
    """S7: the first signal may bring all that was read since the page was rendered, and the leeway, but no more."""
    ticket = site.ticket()
    site.clock.advance(100)
    site.log(ticket, 1000)
    assert site.seconds() == 105


def test_what_is_acknowledged_is_not_paid_twice(site):
    """A view that the state has forgotten says how much of its total the server has."""
    ticket = site.ticket()
    site.read(ticket, 20)
    for n in range(16):
        site.log(ticket, 0.001, view=f"other-{n}")
    site.clock.advance(10)
    site.log(ticket, 30, acked=20)
    assert site.seconds() == pytest.approx(30, abs=0.02)


def test_a_leave_reports(site):
    """A leave signal is answered 204, and what was unreported has arrived."""
    answer = site.read(site.ticket(), 12.5, l=True)
    assert answer.status_code == 204
    assert site.emitter.seconds("anna", "owls") == 12
    assert site.tracker.state("anna", "owls").finalized_at is None


def test_a_leave_can_be_deferred(make_site):
    """With the setting LEAVE "defer" a leave sends nothing, and the sweeper does."""
    site = make_site(settings={"LEAVE": "defer"})
    site.read(site.ticket(), 12, l=True)
    assert site.emitter.events == []
    assert site.tracker.sweep(idle_seconds=0).seconds_sent == 12


def test_completion_finalizes(site):
    """A completed signal counts first and finalizes then; its replays are plain heartbeats."""
    ticket = site.ticket()
    site.read(ticket, 12, c=True)
    assert site.emitter.seconds("anna", "owls") == 12
    stamp = site.tracker.state("anna", "owls").finalized_at
    assert stamp == site.clock()
    site.clock.advance(8)
    for _ in range(5):
        site.log(ticket, 20, c=True)
    assert (site.emitter.inner.batches, site.tracker.state("anna", "owls").finalized_at) == ([1], stamp)
    site.log(ticket, 20, c=True, l=True)
    assert site.emitter.seconds("anna", "owls") == 20


def test_completion_can_be_deferred(make_site):
    """Where the policy defers completion, a completed signal does too."""
    site = make_site(policy=ReadTimePolicy(completion="defer"))
    site.read(site.ticket(), 12, c=True)
    assert site.emitter.events == []
    site.tracker.sweep(idle_seconds=3600)
    assert site.tracker.state("anna", "owls").finalized_at is not None


def test_a_position_completes_what_has_a_length(site):
    """A share of an article whose length the host gave is a position in it, and completes it at the policy's ratio."""
    ticket = site.ticket(duration_seconds=200)
    site.read(ticket, 10, p=0.9)
    state = site.tracker.state("anna", "owls")
    assert (state.position_seconds, state.canonical_duration_seconds, state.finalized_at) == (180, 200, None)
    site.clock.advance(10)
    site.log(ticket, 20, p=0.96)
    assert site.emitter.seconds("anna", "owls") == 20
    assert site.tracker.state("anna", "owls").finalized_at is not None


def test_a_share_alone_is_no_position(site):
    """Of an article without a length a share says nothing in seconds: a short page is no read page."""
    site.read(site.ticket(), 10, p=1)
    state = site.tracker.state("anna", "owls")
    assert (state.position_seconds, state.canonical_duration_seconds, state.finalized_at) == (None, None, None)


def test_an_article_of_which_the_words_are_known_needs_no_length(make_site):
    """S12: how far the reader is counts; they are through once its words had their time and its end was seen."""
    site = make_site(policy=ReadTimePolicy(completion_words_per_minute=480))
    ticket = site.ticket(what=article("owls", words=160))  # 20 s
    site.read(ticket, 10, p=0.5)
    state = site.tracker.state("anna", "owls")
    assert (state.depth, state.words_per_minute, state.finalized_at) == (0.5, 480, None)
    site.clock.advance(15)
    site.log(ticket, 25, p=0.5)
    assert site.tracker.state("anna", "owls").finalized_at is None
    site.log(ticket, 25, p=1)
    assert site.emitter.seconds("anna", "owls") == 25
    assert site.tracker.state("anna", "owls").finalized_at is not None


def test_a_page_that_is_through_sooner_than_reading_takes_is_not_believed(make_site):
    """S12: a jump to the end, whatever the script makes of it, completes once the words have had their time."""
    site = make_site(policy=ReadTimePolicy(completion_words_per_minute=480))
    ticket = site.ticket(what=article("owls", words=160))
    site.read(ticket, 10, p=1, c=True)
    assert (site.emitter.events, site.tracker.state("anna", "owls").finalized_at) == ([], None)
    site.clock.advance(10)
    site.log(ticket, 20, p=1)
    assert site.emitter.seconds("anna", "owls") == 20
    assert site.tracker.state("anna", "owls").finalized_at is not None


def test_a_page_with_a_video(site):
    """S12: the share played is a position; at double speed it is watched in half of its duration, and not before."""
    ticket = site.ticket(what=KINDS["video"], duration_seconds=120)
    site.read(ticket, 5, p=1, c=True)
    state = site.tracker.state("anna", "owls")
    assert (site.emitter.events, state.finalized_at, state.depth) == ([], None, 1)
    site.clock.advance(52)
    site.log(ticket, 57, p=1)
    assert site.emitter.seconds("anna", "owls") == 57
    assert site.tracker.state("anna", "owls").finalized_at is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_counted_and_reported(site, kind):
    """What the ticket says of the activity stands in its event, and its seconds are the reader's."""
    ticket = site.ticket(what=KINDS[kind])
    site.read(ticket, 12, l=True)
    (event,) = site.emitter.events
    assert site.tracker.state("anna", "owls").ledger.context.article == KINDS[kind]
    assert event.get("extensions", {}).get("kind", "article") == KINDS[kind].kind
    assert site.emitter.seconds("anna", KINDS[kind]) == 12


@pytest.mark.parametrize("error", [EmitterUnavailable("down"), EventRejected("no", status=422), RuntimeError("bug")])
@pytest.mark.parametrize("more", [{"l": True}, {"c": True}])
def test_a_failed_emission_never_fails_a_heartbeat(site, error, more):
    """The time is counted, the answer is 204, and the next report brings it."""
    ticket = site.ticket()
    site.emitter.fail(error)
    assert site.read(ticket, 10, **more).status_code == 204
    assert (site.seconds(), site.emitter.events) == (10, [])
    site.tracker.unpark("anna", "owls")
    assert site.emitter.seconds("anna", "owls") == 10


def test_without_an_emitter_a_leave_is_deferred(make_site):
    """A host that leaves all sending to another one's sweep takes leaves and completions all the same."""
    site = make_site(emits=False)
    ticket = site.ticket()
    assert site.read(ticket, 10, l=True).status_code == 204
    assert site.read(ticket, 20, c=True).status_code == 204
    assert site.tracker.state("anna", "owls").due_at is not None


class Failing(InMemoryStateStore):
    """A store that is down from a given call of ``update`` on."""

    left = 0

    def update(self, key, transition, now=None, /):
        if self.left <= 0:
            raise StoreUnavailable("the store is down")
        self.left -= 1
        return super().update(key, transition, now)


def test_a_store_that_is_down(make_site):
    """503 with Retry-After: the script keeps its record; the same total counts once it is back."""
    store = Failing()
    site = make_site(store=store)
    ticket = site.ticket()
    answer = site.read(ticket, 10)
    assert (answer.status_code, answer.json) == (503, refusal("store_unavailable"))
    assert answer.headers["Retry-After"] == str(RETRY_AFTER_SECONDS)
    store.left = 99
    assert site.log(ticket, 10).status_code == 204
    assert site.seconds() == 10


def test_a_store_that_goes_down_after_the_count(make_site):
    """What was counted is acknowledged, though the report that follows cannot be made."""
    store = Failing()
    store.left = 2  # the signal by ids, and with the reader
    site = make_site(store=store)
    assert site.read(site.ticket(), 10, l=True).status_code == 204
    assert (site.seconds(), site.emitter.events) == (10, [])


def test_an_unknown_reader_is_asked_for_once(make_site):
    """However many signals an unknown reader sends, the host is asked once; each is refused all the same."""
    asked = []
    site = make_site(reader=asked.append)
    ticket = site.ticket("nobody")
    assert {site.read(ticket, total).json["error"] for total in range(1, 21)} == {"unknown_reader"}
    assert asked == ["nobody"]


def test_an_unknown_reader_is_forgotten_again():
    """Somebody who was just enrolled waits a minute at most; a known reader and a failing lookup are not remembered."""
    now, known, asked = [0.0], {}, []

    def lookup(sourced_id):
        asked.append(sourced_id)
        if sourced_id == "broken":
            raise LookupError
        return known.get(sourced_id)

    find = remembering(lookup, lambda: now[0])
    assert find("anna") is None
    known["anna"] = READERS["anna"]
    now[0] = UNKNOWN_SECONDS - 0.001
    assert find("anna") is None
    now[0] = UNKNOWN_SECONDS
    assert find("anna") is find("anna") is READERS["anna"]
    for _ in range(2):
        with pytest.raises(LookupError):
            find("broken")
    assert asked == ["anna", "anna", "anna", "broken", "broken"]


def test_no_more_unknown_readers_are_remembered_than_fit():
    """A flood of ids takes bounded memory: the oldest is asked for again."""
    asked = []
    find = remembering(asked.append, lambda: 0.0)
    for number in range(UNKNOWN_READERS + 1):
        find(str(number))
    find("1")
    find("0")
    assert asked[-2:] == [str(UNKNOWN_READERS), "0"]


def test_the_address_is_asked_for_once(make_site):
    """The host's callback is asked once for each reader and article; from then on the store knows."""
    asked = []

    def reader(sourced_id):
        asked.append(sourced_id)
        return READERS.get(sourced_id)

    site = make_site(reader=reader)
    ticket = site.ticket()
    for total in (10, 20, 30):
        site.read(ticket, total)
    assert asked == ["anna"]
    site.log(ticket, 30, l=True)
    assert [event["actor"]["email"] for event in site.emitter.events] == ["anna@example.org"]


def test_time_goes_to_the_tickets_reader(make_site):
    """Whatever form of id the host's Reader has, time is counted under the ticket's id."""
    site = make_site(reader=lambda _: BEN)
    site.read(site.ticket("anna"), 10)
    assert (site.seconds("anna"), site.seconds("ben")) == (10, 0)


def test_the_newest_page_tells_the_title(site):
    """A ticket's article refreshes what is stored, so that a corrected title reaches the next event."""
    site.read(site.ticket(), 10)
    corrected = attrs.evolve(OWLS, title="Owls, corrected")
    site.read(site.ticket(what=corrected), 10, view="view-2", l=True)
    assert [event["object"]["activity"]["name"] for event in site.emitter.events] == ["Owls, corrected"]


@pytest.mark.parametrize("name", STORES)
def test_every_store(make_site, tmp_path, name):
    """A page's life (open, read, leave, come back, complete) over each kind of store."""
    store = STORES[name](tmp_path)
    site = make_site(store=store)
    ticket = site.ticket()
    for total in (10, 20, 30):
        site.clock.advance(10)
        assert site.log(ticket, total, l=total == 30).status_code == 204
    site.clock.advance(60)
    back = site.ticket()
    assert site.read(back, 15, view="view-2", c=True).status_code == 204
    assert (site.seconds(), site.emitter.seconds("anna", "owls")) == (45, 45)
    assert site.tracker.state("anna", "owls").finalized_at is not None
    store.close()


def test_the_first_signal_of_a_page_is_no_error(make_site, caplog):
    """S15, G3: whose e-mail address is not known yet is looked up, which is the usual way and no line in the log."""
    site = make_site()
    with caplog.at_level("WARNING", "caliper_readtime"):
        assert site.log(site.ticket(), 5).status_code == 204
    assert [record.getMessage() for record in caplog.records] == []
