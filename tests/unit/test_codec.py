"""How states are written: the text itself, because other versions, and operators, read it."""

from __future__ import annotations

import json
import traceback

import attrs
import pytest

from caliper_readtime import Activity, Article, CorruptState, Course, Reader, ReadTimePolicy
from caliper_readtime._rules.heartbeat import widening
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._codec import (
    FINGERPRINT,
    LARGEST,
    dump_heartbeats,
    dump_views,
    fingerprint,
    load_heartbeats,
    load_time,
    load_views,
    named,
)
from caliper_readtime.stores._ledger_text import USUAL_TTL_MS, dump_ledger, load_ledger
from caliper_readtime.testing._store_driver import NOW, empty_state, full_state
from tests.ledger_documents import document_of, text_of

EMPTY, FULL = empty_state().ledger, full_state().ledger
LEAST = (
    '{"schema":[2,0],"generation":"g","first_sync_at_ms":1790000000000,"context":{"reader":{"sourced_id":"reader",'
    '"email":"reader@example.org"},"article":{"resource_id":"article","title":"T","url":"https://app.example.org"}},'
    '"ttl_ms":86400000}\n'
)


def changed(**fields):
    """The least ledger's text with some fields changed; None takes one out."""
    parsed = {**json.loads(LEAST), **fields}
    return text_of({name: value for name, value in parsed.items() if value is not None})


def test_a_ledger_is_compact_json_without_defaults():
    """Any tool can read it, and a field that a later version drops is not in the way."""
    assert dump_ledger(EMPTY) == LEAST


def test_a_claims_event_and_each_step_have_lines_of_their_own():
    """The event stands as it is sent; a step is a JSON array, of which what says nothing at the end is left out."""
    step = f'[{NOW},"deferred",12000]\n[{NOW + 1},"finalized"]\n'
    ledger = attrs.evolve(EMPTY, claim=attrs.evolve(FULL.claim, context=EMPTY.context), history=step)
    first, event, *steps = dump_ledger(ledger).split("\n")
    assert event == FULL.claim.event
    assert "\n".join(steps) == step
    document = json.loads(first)
    assert document["history"] == 2
    assert not {"event", "context"} & document["claim"].keys()


def test_what_was_built_from_the_ledgers_own_context_does_not_repeat_it():
    """A claim, a refused event and the account name a context only where it is another one."""
    own = FULL.context
    parked = attrs.evolve(FULL.parked[0], context=own)
    account = attrs.evolve(FULL.account, contexts=(FULL.claim.context, own))
    ledger = attrs.evolve(FULL, claim=attrs.evolve(FULL.claim, context=own), parked=(parked,), account=account)
    document = document_of(dump_ledger(ledger))
    assert "context" not in document["claim"]
    assert "context" not in document["parked"][0]
    assert document["account"]["contexts"][0]["article"]["title"] == FULL.claim.context.article.title
    assert document["account"]["contexts"][1] is None
    assert load_ledger(" " + dump_ledger(ledger)) == ledger


def test_a_ledger_without_a_beginning_of_its_budget_never_widens_it():
    """B7, T7: a field that an older minor schema has not is read as its default."""
    ledger = load_ledger(" " + LEAST)
    assert ledger == EMPTY
    assert (ledger.counts_from_at_ms, ledger.widened_ms) == (None, 0)
    assert widening(ReadTimePolicy(), ledger, 0) == 0


def test_an_activity_without_a_kind_is_an_article():
    """T7: as hosts pass one that says nothing of its kind."""
    ledger = load_ledger(" " + LEAST)
    assert type(ledger.context.article) is Article
    assert dump_ledger(ledger) == LEAST


def test_an_activity_comes_back_with_all_that_it_says():
    """Kind, attempt, words and extensions stand beside the article's fields, each left out where it says nothing."""
    article = EMPTY.context.article
    said = {"kind": "video", "attempt": 2, "words": 800, "extensions": {"runId": "1"}}
    video = Activity(article.resource_id, article.title, article.url, **said)
    text = dump_ledger(attrs.evolve(EMPTY, context=attrs.evolve(EMPTY.context, article=video)))
    assert document_of(text)["context"]["article"] == {
        "resource_id": "article",
        "title": "T",
        "url": "https://app.example.org",
        "kind": "video",
        "attempt": 2,
        "words": 800,
        "extensions_json": '{"runId":"1"}',
    }
    assert load_ledger(" " + text).context.article == video
    assert fingerprint(video) != fingerprint(article)
    assert fingerprint(Activity(article.resource_id, article.title, article.url)) == fingerprint(article)


def test_nothing_is_left_out_of_a_full_ledger():
    """Every field of the ledger and of its claim stands in the text under its own name; times are milliseconds."""
    written = document_of(dump_ledger(FULL))
    assert written.keys() == {"schema", "newer"} | {field.name for field in attrs.fields(type(FULL))} - {"unknown"}
    assert written["claim"].keys() == {field.name for field in attrs.fields(type(FULL.claim))}
    assert written["parked"][0].keys() | {"status"} == {field.name for field in attrs.fields(type(FULL.parked[0]))}
    detail = full_state().history[2].detail
    assert written["history"][2:4] == [
        [NOW + 2, "failed", 250, None, detail],
        [NOW + 3, "failed", 375, "urn:uuid:3", detail],
    ]


@pytest.mark.parametrize("ledger", [EMPTY, FULL], ids=["empty", "full"])
def test_a_ledger_comes_back_as_it_was(ledger):
    """Reading undoes writing, and writing undoes reading."""
    text = dump_ledger(ledger)
    assert load_ledger(" " + text) == ledger
    assert dump_ledger(load_ledger(" " + text)) == text


def test_the_same_text_is_read_once():
    """A heartbeat meets the same ledger again and again: it gets the very same frozen object."""
    assert load_ledger(LEAST) is load_ledger("".join(list(LEAST)))


@pytest.mark.parametrize("name", ["colour", "unknown", "Claim", ""])
def test_fields_of_a_newer_minor_schema_are_kept(name):
    """T7: unknown fields of a newer minor schema are kept, whatever their name, through a read and a write."""
    value = {"of": [1, None, "ü", {"claim": 1.5}]}
    ledger = load_ledger(changed(schema=[2, 7], **{name: value}))
    assert attrs.evolve(ledger, unknown="{}") == EMPTY
    assert document_of(dump_ledger(attrs.evolve(ledger, pointer_ms=5)))[name] == value


@pytest.mark.parametrize(
    ("major", "do"), [(0, "before the first release"), (1, "before the first release"), (3, "newer"), (10, "newer")]
)
def test_another_major_schema_says_what_to_do(major, do):
    """T7: only an incompatible state raises CorruptState: it names both schemas."""
    with pytest.raises(CorruptState, match=rf"{major}\.3.*reads 2\.x.*{do}"):
        load_ledger(changed(schema=[major, 3]))


def _full(change):
    """A full ledger's document, changed."""
    document = document_of(dump_ledger(FULL))
    change(document)
    return document


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        LEAST[:-1],
        LEAST[:-2],
        LEAST + "x",
        LEAST + "\n",
        LEAST + f'[{NOW},"sent"]\n',
        LEAST.replace("reader@example.org", "reader@@example.org"),
        LEAST.replace('"T"', "7"),
        changed(schema=None),
        changed(schema=1),
        changed(context=None),
        changed(ttl_ms=-1),
        changed(ttl_ms=1.0),
        changed(ttl_ms=True),
        changed(pointer_ms="5"),
        changed(first_sync_at_ms=253_402_300_800_000),
        changed(history=1),
        changed(history=-1),
        changed(history=True),
        changed(history=[1]),
        *(
            changed(history=[[NOW, "sent"], step])
            for step in (
                [],
                [NOW],
                [NOW, 7],
                [NOW, "sent", -1],
                [NOW, "sent", 1.5],
                [NOW, "sent", "1"],
                [NOW, "sent", 1, 1],
                [NOW, "sent", 1, "e", None],
                [NOW, "sent", 1, "e", "", ""],
                ["1", "sent"],
                [253_402_300_800_000, "sent"],
            )
        ),
        changed(history=[[NOW, "sent"]]).replace("sent", "s\\x"),
        changed(parked={}),
        changed(claim={"event_id": "e"}),
        changed(duration_ms=0),
        *(changed(account={"contexts": [], "cuts": cuts}) for cuts in ("x", "30 ", "1:2", "~", "30  5", "1.2345", "٣")),
        text_of(_full(lambda full: full["claim"].update(end_ms=full["claim"]["start_ms"]))),
        text_of(_full(lambda full: full["parked"][0].update(start_ms=full["parked"][0]["end_ms"] + 1))),
        text_of(_full(lambda full: full["claim"].update(event={"id": full["claim"]["event_id"], "name": "\ud800"}))),
        changed(generation=5),
    ],
)
def test_what_is_no_ledger_is_corrupt_and_not_quoted(text):
    """CorruptState says what kind of mistake it is; no address is in it, nor in anything that a log would print.

    What can be read is also safe to go on with: there is no depth of nothing, no range without a length, no event
    that cannot be sent, and what was cut can be counted.
    """
    with pytest.raises(CorruptState) as caught:
        load_ledger(text)
    assert "@" not in "".join(traceback.format_exception(caught.value, limit=0))


def test_lists_are_short_text():
    """A line for each view or heartbeat, with separators that no id can hold; heartbeats are counted."""
    views, heartbeats = (("v:{}|,'\"", 0), ("猫", 5000)), ("h 1", "h,2")
    assert dump_views(views) == "\nv:{}|,'\"\t0\n猫\t5000"
    assert dump_heartbeats(heartbeats) == "2\nh 1\nh,2\n"
    assert load_views(dump_views(views)) == views
    assert load_heartbeats(dump_heartbeats(heartbeats)) == heartbeats
    assert (dump_views(()), dump_heartbeats(()), load_views(""), load_heartbeats("0\n")) == ("", "0\n", (), ())


@pytest.mark.parametrize(
    "text",
    [
        "v",
        "v\t1",
        "\nv",
        "\nv\t",
        "\nv\tx",
        "\nv\t1.5",
        "\nv\t1\nw",
        "\t",
        "\nv\t-1",
        "\n",
        "\nv\t٣",
        "\nv\t" + "9" * 5000,
    ],
)
def test_torn_views_are_corrupt(text):
    """An id without a total, or a total that is no whole number."""
    with pytest.raises(CorruptState):
        load_views(text)


@pytest.mark.parametrize("text", ["", "\n", "h", "h\n", "1\n", "1\nh", "2\nh\n", "1\nh\nh", "0", "-1\n"])
def test_torn_heartbeats_are_corrupt(text):
    """As many ids as were counted, each with a line break behind it."""
    with pytest.raises(CorruptState):
        load_heartbeats(text)


def test_a_ledger_need_not_say_what_its_key_says():
    """With the key the ids and a usual time to live are left out; what differs from them is kept, and read back."""
    context = EMPTY.context
    key = Key(context.reader.sourced_id, context.article.resource_id)
    usual = attrs.evolve(EMPTY, ttl_ms=USUAL_TTL_MS)
    short = dump_ledger(usual, key)
    assert key.reader_sourced_id not in document_of(short)["context"]["reader"].values()
    assert load_ledger(" " + short, key) == usual
    assert load_ledger(" " + dump_ledger(usual), key) == usual
    for ledger, other in ((EMPTY, key), (usual, Key("other", key.resource_id)), (FULL, key)):
        text = dump_ledger(ledger, other)
        assert load_ledger(" " + text, other) == ledger
        assert dump_ledger(load_ledger(" " + text, other), other) == text
    with pytest.raises(CorruptState):
        load_ledger(short)


def test_equal_contexts_have_equal_fingerprints():
    """And every part of a reader or article changes them: a script compares nothing else."""
    reader, article = Reader("r", "r@example.org"), Article("a", "A", "https://x.example/a", Course("C"), "Math")
    values = [
        reader,
        Reader("q", "r@example.org"),
        Reader("r", "q@example.org"),
        article,
        *(
            attrs.evolve(article, **{name: value})
            for name, value in {
                "resource_id": "b",
                "title": "B",
                "url": "https://x.example/b",
                "course": Course("C", "c"),
                "subject": "Reading",
            }.items()
        ),
        attrs.evolve(article, course=None),
    ]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(Reader("r", "r@example.org")) == fingerprint(reader)
    assert {len(fingerprint(value)) for value in values} == {FINGERPRINT}


@pytest.mark.parametrize("text", [None, "", "x", b"\xff", "-1", "1.5", "9" * 5000, str(LARGEST)])
def test_a_recorded_time_that_is_none_is_as_if_nothing_were_recorded(text):
    """Nobody's heartbeat or status fails because it is not known when a sweep last ran."""
    assert load_time(text) is None
    assert load_time("1790000000000") == load_time(b"1790000000000") == 1_790_000_000_000


def test_an_error_names_whom_it_is_about():
    """An operator must find the state: ids as they are, in the message and as data."""
    error = named(CorruptState("torn"), Key("anna", "owls"))
    assert str(error) == "torn; reader anna, article owls; it was left as it is"
    assert (error.reader_sourced_id, error.resource_id) == ("anna", "owls")
