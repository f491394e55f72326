"""``banked_minutes``: what the production XP calculator pays for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caliper_readtime import Article, InMemoryStateStore, Reader
from caliper_readtime.testing import banked_minutes, minutes_rounded_up
from tests.scenes import ANNA, BEES, BEN, OWLS, ROSTER, Scene, events

ACTOR = events().actor_id("anna")


def event(seconds, resource="owls", *, name, actor=ACTOR, action="SpentTime", kind="active", plain=False):
    """What counts of an event."""
    return {
        "id": name,
        "action": action,
        "actor": {"id": actor},
        "object": {"activity": {"id": resource if plain else events().activity_id(resource)}},
        "generated": {"items": [{"type": kind, "value": seconds}]},
    }


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [(0, 0), (19, 0), (20, 0), (20.001, 1), (21, 1), (60, 1), (61, 2), (120, 2), (121, 3), (600, 10), (601, 10)],
)
def test_minutes_begun_count_after_twenty_seconds(seconds, minutes):
    """Consumer: "<= 20 s -> 0 min, … else ceil(s/60)", at most what the article pays."""
    banked = banked_minutes([event(seconds, name="1")], ACTOR, ["owls"], 10)
    assert banked == {"owls": minutes}
    assert type(banked["owls"]) is int


def test_an_articles_events_are_added_before_they_are_rounded():
    """Consumer: many short events of one article are paid like one long event."""
    short = [event(15, name=str(number)) for number in range(8)]
    assert banked_minutes(short, ACTOR, ["owls"], 10) == {"owls": 2}


def test_only_active_spent_time_of_this_actor_counts():
    """Consumer: "counts only SpentTime + active items matched by actor URL"."""
    others = [
        event(100, name="2", actor=f"{ROSTER}/users/anna"),
        event(100, name="3", actor=events().actor_id("ann")),
        event(100, name="4", action="Completed"),
        event(100, name="5", kind="inactive"),
        event(100, "bees", name="6"),
        {**event(100, name="7"), "object": {}},
        {**event(100, name="8"), "object": {"activity": None}},
        {**event(100, name="9"), "object": {"activity": {"name": "no id"}}},
    ]
    assert banked_minutes([event(59, name="1"), *others], ACTOR, ["owls"], 10) == {"owls": 1}
    mixed = event(30, name="m")
    mixed["generated"]["items"] += [{"type": "waste", "value": 900}, {"type": "active", "value": 31}]
    assert banked_minutes([mixed], ACTOR, ["owls"], 10) == {"owls": 1}  # the first active item alone


def test_an_event_that_came_twice_is_paid_twice():
    """The calculator knows no event ids; ``distinct`` shows what one that knew them would pay (I7)."""
    arrived = [event(60, name="1"), event(60, name="1"), event(5, name="2")]
    assert banked_minutes(arrived, ACTOR, ["owls"], 10) == {"owls": 3}
    assert banked_minutes(arrived, ACTOR, ["owls"], 10, distinct=True) == {"owls": 2}


CASES = json.loads((Path(__file__).parent / "banking_cases.json").read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_production_calculator_agrees(case):
    """What the production calculator paid when its own code was run on these events is what is paid here."""
    arrived = [
        {
            "id": str(one["id"]),
            "action": "SpentTime",
            "actor": {"id": one["actor"]},
            "object": {"activity": {"id": one["activity"]}},
            "generated": {"items": [{"type": kind, "value": value} for kind, value in one["items"]]},
        }
        for one in case["events"]
    ]
    assert banked_minutes(arrived, "u1", ["nice_x1", "nice_x2", "nice x3"], case["expected_xp"]) == case["banked"]


def test_activities_match_to_the_letter():
    """The calculator strips everything up to /resources/, takes a plain id as it is, and decodes neither."""
    both = [event(60, name="1"), event(60, name="2", plain=True)]
    for asked in ("owls", events().activity_id("owls")):
        assert banked_minutes(both, ACTOR, [asked], 10) == {asked: 2}
    odd = "a b/é"
    assert banked_minutes([event(60, odd, name="1")], ACTOR, [odd], 10) == {odd: 0}
    assert banked_minutes([event(60, odd, name="1", plain=True)], ACTOR, [odd], 10) == {odd: 1}
    elsewhere = "https://cms.example.org/articles/7"
    assert banked_minutes([event(60, elsewhere, name="1")], ACTOR, [elsewhere, "7"], 10) == {elsewhere: 1, "7": 0}
    # The calculator reduces a compound id; events keep the one that the host gave.
    compound = "nice_7_x1"
    assert events().activity_id(compound).endswith("/resources/nice_7_x1")
    assert banked_minutes([event(60, compound, name="1")], ACTOR, [compound, "nice_x1"], 10) == {
        compound: 0,
        "nice_x1": 1,
    }


@pytest.mark.parametrize(
    ("expected_xp", "banked"),
    [
        (10, {"owls": 5, "bees": 1, "wasps": 0}),
        (3, {"owls": 3, "bees": 1, "wasps": 0}),
        (3.9, {"owls": 3.9, "bees": 1, "wasps": 0}),
        (0, {"owls": 0, "bees": 0, "wasps": 0}),
        ({"owls": 4, "bees": 9}, {"owls": 4, "bees": 1, "wasps": 0}),
        ({"bees": 1}, {"owls": 0, "bees": 1, "wasps": 0}),
    ],
)
def test_no_article_pays_more_than_it_is_worth(expected_xp, banked):
    """No article pays more than it is worth; each asked for has an answer."""
    arrived = [event(300, name="1"), event(45, "bees", name="2"), event(99, "ants", name="3")]
    assert banked_minutes(iter(arrived), ACTOR, ["owls", "bees", "wasps"], expected_xp) == banked


def test_hosts_may_round_otherwise():
    """The calculator's page says up to 20 s, its code below 20 s: the rounding is the host's."""
    exactly = [event(20, name="1")]
    assert banked_minutes(exactly, ACTOR, ["owls"], 9, rounding=lambda seconds: 0 if seconds < 20 else 1) == {"owls": 1}
    assert minutes_rounded_up(20) == 0


def test_what_a_tracker_sends_is_what_is_banked():
    """The two ends meet: read, flush, bank."""
    scene = Scene(InMemoryStateStore)
    anna = Reader("anna/ü", "anna@example.org")
    owls = Article("owls_1", "Owls", OWLS.url)
    scene.read(anna, owls, 61)
    scene.read(anna, BEES, 20)
    scene.read(BEN, owls, 500)
    assert scene.tracker.flush_reader(anna).settled
    asked = [owls.resource_id, BEES.resource_id]
    assert banked_minutes(scene.emitter.events, events().actor_id("anna/ü"), asked, 10) == {"owls_1": 2, "bees": 0}
    assert banked_minutes(scene.emitter.events, events().actor_id(ANNA.sourced_id), [OWLS.resource_id], 10) == {
        "owls": 0
    }
