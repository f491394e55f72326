"""The hand-written wire table, judged by a strict JSON Schema and by Timeback's own client package."""

import copy
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caliper_readtime.testing._strict_schema import CALIPER_VERSION, envelope_problems, event_problems
from tests.strict_schema import strict

STRICT = strict()
PLAIN = strict("plain")
ROSTER = "https://roster.example.org/ims/oneroster/rostering/v1p2"


def minimal():
    """An envelope with what is required and nothing else."""
    return {
        "sensor": "https://app.example.org",
        "sendTime": "2026-11-24T16:00:42.500Z",
        "dataVersion": CALIPER_VERSION,
        "data": [
            {
                "@context": CALIPER_VERSION,
                "id": "urn:uuid:7c0d6f0e-6f8a-5e0c-9d0a-3f8f5b0f2a11",
                "type": "TimeSpentEvent",
                "profile": "TimebackProfile",
                "action": "SpentTime",
                "eventTime": "2026-11-24T16:00:42.000Z",
                "actor": {"id": f"{ROSTER}/users/u1", "type": "TimebackUser", "email": "s@example.org"},
                "object": {
                    "id": "https://app.example.org/reading/article-1",
                    "type": "TimebackActivityContext",
                    "subject": "Reading",
                    "app": {"name": "App"},
                },
                "generated": {
                    "id": "urn:uuid:0b0f6a52-2d2e-4d0f-8a0e-0d8e6e4c9a10",
                    "type": "TimebackTimeSpentMetricsCollection",
                    "items": [{"type": "active", "value": 42}],
                },
            }
        ],
    }


def full():
    """An envelope with everything that may stand in it."""
    envelope = minimal()
    free = {"runId": "r"}
    event = envelope["data"][0]
    event["actor"] |= {"name": "S", "role": "student", "extensions": free}
    event["object"] |= {
        "app": {"id": "https://app.example.org", "name": "App", "extensions": free},
        "course": {"id": f"{ROSTER}/courses/c1", "name": "G5"},
        "activity": {"id": f"{ROSTER}/resources/r1", "name": "Article"},
        "process": False,
    }
    event["generated"]["extensions"] = free
    event["generated"]["items"][0] |= {
        "subType": "eating",
        "startDate": "2026-11-24T16:00:00.000Z",
        "endDate": "2026-11-24T16:00:42.000Z",
        "extensions": free,
    }
    links = ("target", "referrer", "group", "membership", "session", "federatedSession")
    event |= {
        "edApp": {"id": "x"},
        **dict.fromkeys(links, "https://app.example.org/x"),
        "extensions": {"deep": [{"n": 1.5, "yes": True}]},
    }
    return json.loads(json.dumps(envelope))  # nothing shared


def places(value, path=()):
    """Yield the path of every value of a document, the document itself last."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places(child, (*path, key))
    yield path


def at(document, path):
    for key in path:
        document = document[key]
    return document


def replaced(document, path, value):
    """Return a document with another value at a path, sharing what is unchanged."""
    if not path:
        return value
    changed = copy.copy(document)
    changed[path[0]] = replaced(document[path[0]] if len(path) > 1 else None, path[1:], value)
    return changed


def removed(document, path):
    parent = copy.copy(at(document, path[:-1]))
    del parent[path[-1]]
    return replaced(document, path[:-1], parent)


def added(document, path, key, value):
    return replaced(document, path, {**at(document, path), key: value})


TIMES = """
2026-11-24T16:00:42.000Z 2024-02-29T00:00:00.000Z 2000-02-29T00:00:00.000Z 0001-01-01T00:00:00.000Z
9999-12-31T23:59:59.999Z 2026-02-29T00:00:00.000Z 1900-02-29T00:00:00.000Z 2026-04-31T00:00:00.000Z
2026-13-01T00:00:00.000Z 2026-00-01T00:00:00.000Z 2026-01-00T00:00:00.000Z 0000-01-01T00:00:00.000Z
2026-11-24T24:00:00.000Z 2026-11-24T16:60:00.000Z 2026-11-24T16:00:60.000Z 2026-11-24T16:00:42Z
2026-11-24T16:00:42.00Z 2026-11-24T16:00:42.000000Z 2026-11-24T16:00:42.000 2026-11-24T16:00:42.000+00:00
2026-11-24T16:00:42.000z 2026-11-24t16:00:42.000Z 2026-11-24 2026-W48-2T16:00:42.000Z 20261124T160042.000Z
\N{ARABIC-INDIC DIGIT TWO}026-11-24T16:00:42.000Z
"""
URIS = """
https://a.example urn:x:y a:b mailto:s@example.org https://u:p@h:80/p;q/(r)?s=/?#t https://[::1]:8/x http://h:/
x:/ x://@h http://h?q https://h/%41 HTTPS://H https://a_b/ example.org /path //h/p http: https:/h https:///p x: https://h/%4
https://h/%zz https://h/a[1] https://h/#a#b https://h/ü https://h/a|b https://h/<a> https://h:99999/ https://h:x/
https://[::1 1a:b https://h/"a" https://h/\\a ://h https://h/{a} https://h/^
"""
EMAILS = """
s@example.org a.b+c@x.y s@localhost s example.org s@ @x s@x@y s@-x.org s@x-.org s@x..org s@x_y.org ü@x.org
"""
IDS = [
    f"urn:uuid:{tail}"
    for tail in ("", "x", "7C0D6F0E-6F8A-5E0C-9D0A-3F8F5B0F2A11", "7c0d6f0e6f8a5e0c9d0a3f8f5b0f2a11", "{7c0d6f0e}")
]
ENUMS = ["None", "Other", "inactive", "eating", "guide", "parent", "reading", CALIPER_VERSION, CALIPER_VERSION + "/"]
NUMBERS = [-1, 0, 0.0, -0.0, 5e-324, 1, 1.5, 86400, 86400.0, 86400.001, 86401, 10**400]
OTHERS = [None, True, False, "", " ", "12", "https://h/\n", "2026-11-24T16:00:42.000Z\n", "s@example.org\n"]
BOXES = [[], {}, [None], ["x"], [{}], {"x": 1}, {"x": None}, {"x": [{"y": None}]}, {"id": None}]
FAMILIES = {"time": TIMES.split(), "uri": URIS.split(), "email": EMAILS.split(), "id": IDS, "number": NUMBERS}
VALUES = [*(value for family in FAMILIES.values() for value in family[:3]), *ENUMS, *OTHERS, *BOXES]
EVENT = ("data", 0)
ITEM = (*EVENT, "generated", "items", 0)
TYPED = {
    "time": [("sendTime",), (*EVENT, "eventTime"), (*ITEM, "startDate"), (*ITEM, "endDate")],
    "uri": [
        ("sensor",),
        *((*EVENT, key, "id") for key in ("actor", "object", "generated")),
        *((*EVENT, "object", key, "id") for key in ("app", "course", "activity")),
        *((*EVENT, key) for key in ("edApp", "target", "referrer", "group", "membership", "session")),
        (*EVENT, "federatedSession"),
    ],
    "email": [(*EVENT, "actor", "email")],
    "id": [(*EVENT, "id")],
    "number": [(*ITEM, "value")],
}
PLACES = tuple(places(full()))


def differing(documents):
    """Return the documents on which the table and the schema disagree."""
    return [doc for doc in documents if (not envelope_problems(doc)) != STRICT.is_valid(doc)]


@pytest.mark.parametrize("make", [minimal, full])
def test_a_good_envelope_has_no_problems(make):
    """An envelope with the required fields alone, and one with every field, are good for table and schema."""
    assert envelope_problems(make()) == ()
    assert STRICT.is_valid(make())
    assert event_problems(make()["data"][0]) == ()


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)) or "$")
def test_table_and_schema_agree_on_every_single_mutation(path):
    """Whatever one value is replaced by, removed or given besides, table and schema judge the same."""
    document = full()
    mutants = [replaced(document, path, value) for value in VALUES]
    if path:
        mutants.append(removed(document, path))
    if isinstance(at(document, path), dict):
        mutants += [added(document, path, key, value) for key in ("extra", "extensions") for value in (1, None, {})]
    assert differing(mutants) == []
    assert any(envelope_problems(mutant) for mutant in mutants)


@pytest.mark.parametrize("family", FAMILIES)
def test_table_and_schema_agree_on_every_form_of_a_typed_value(family):
    """Times, URIs, e-mail addresses, event ids and seconds are judged alike wherever they stand; some are good."""
    for path in TYPED[family]:
        mutants = [replaced(full(), path, value) for value in FAMILIES[family]]
        assert differing(mutants) == []
        assert len({bool(envelope_problems(mutant)) for mutant in mutants}) == 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES[:-1]), st.sampled_from(VALUES)), min_size=2, max_size=4))
def test_table_and_schema_agree_on_several_mutations_at_once(changes):
    """Several changed values at once are judged the same by both."""
    document = full()
    for path, value in changes:
        try:
            document = replaced(document, path, value)
        except (LookupError, TypeError):  # an earlier change took the place away
            continue
    assert differing([document]) == []


@settings(deadline=None, max_examples=300)
@given(st.from_regex(r"(https?|x):(//)?[a-z0-9:@/?#%\[\]A.~!-]{0,12}", fullmatch=True))
def test_uris_are_judged_as_rfc_3986_says(value):
    """Any text that looks like a URI is judged as the rfc3986 library judges it."""
    assert differing([replaced(minimal(), ("sensor",), value)]) == []


@settings(deadline=None)
@given(st.datetimes().map(lambda time: time.isoformat(timespec="milliseconds") + "Z"), st.integers(0, 23), st.data())
def test_times_are_judged_alike(value, place, data):
    """A time of the exact form is good, and one with another character in it is judged alike by both."""
    assert envelope_problems(replaced(minimal(), ("sendTime",), value)) == ()
    value = value[:place] + data.draw(st.sampled_from("0123456789-:.TZ +")) + value[place + 1 :]
    assert differing([replaced(minimal(), ("sendTime",), value)]) == []


@pytest.mark.parametrize("path", [path for path in PLACES if path], ids=lambda path: ".".join(map(str, path)))
def test_null_is_refused_everywhere_and_the_path_is_named(path):
    """Nulls are never sent: a null anywhere is one problem that names its place."""
    where = "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    (problem,) = envelope_problems(replaced(full(), path, None))
    assert problem.startswith(f"{where}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["value", "extensions"])
def test_numbers_that_json_does_not_have_are_refused(key, value):
    """NaN and the infinities are refused as a value and inside extensions (a schema cannot say so)."""
    path = ("data", 0, "generated", "items", 0, key)
    assert envelope_problems(replaced(full(), path, value if key == "value" else {"x": [value]}))


def test_problems_never_quote_a_value():
    """An e-mail address that is refused does not appear in the problem."""
    (problem,) = envelope_problems(replaced(full(), ("data", 0, "actor", "email"), "secret at example.org"))
    assert "secret" not in problem
    assert problem.startswith("$.data[0].actor.email: ")


def test_plain_activity_ids_are_good_only_where_they_are_meant():
    """A plain activity id is a problem by default, and none with ``activity_ids="plain"``, for table and schema."""
    envelope = replaced(full(), ("data", 0, "object", "activity", "id"), "r1")
    assert len(envelope_problems(envelope)) == 1
    assert envelope_problems(envelope, activity_ids="plain") == ()
    assert PLAIN.is_valid(envelope)
    assert not STRICT.is_valid(envelope)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="timeback-caliper needs Python 3.12")
@pytest.mark.parametrize("make", [minimal, full])
def test_timebacks_own_package_reads_a_good_event(make):
    """An event that the table finds good is a TimeSpentEvent for timeback-caliper, with the same seconds."""
    timeback = pytest.importorskip("timeback_caliper", reason="timeback-caliper is not installed")
    event = make()["data"][0]
    read = timeback.TimeSpentEvent.model_validate(json.loads(json.dumps(event)))
    assert read.id == event["id"]
    assert [item.value for item in read.generated.items] == [42]
