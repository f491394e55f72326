"""What text is acceptable, judged by email-validator and rfc3986; where we differ on purpose, it says so."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
import rfc3986
from email_validator import EmailNotValidError, validate_email
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.provisional import domains, urls
from rfc3986.abnf_regexp import FRAGMENT_RE, PATH_ABEMPTY, QUERY_RE
from rfc3986.exceptions import RFC3986Exception
from rfc3986.misc import URI_MATCHER
from rfc3986.validators import Validator

from caliper_readtime import InvalidInput, MissingField, Subject
from caliper_readtime._checks import (
    MAX_URL,
    count,
    email,
    identifier,
    is_url,
    member,
    text,
    to_uri,
    url,
    without_emails,
)

_JUDGE = (
    Validator()
    .require_presence_of("scheme", "host")
    .check_validity_of("scheme", "userinfo", "host", "port", "path", "query", "fragment")
)


def takes(check, value):
    """Whether a check of ours takes the value."""
    try:
        return check(value, "field") == value
    except InvalidInput:
        return False


def is_email(value):
    """Whether email-validator takes it, without asking the DNS and with names that only a test network knows."""
    try:
        validate_email(value, check_deliverability=False, test_environment=True, allow_smtputf8=False)
    except EmailNotValidError:
        return False
    return True


def is_uri(value):
    """Whether rfc3986 takes it as an absolute URI with a host.

    It encodes a path, a query and a fragment before it judges them, so these go by its grammar, as they are.
    """
    try:
        _JUDGE.validate(rfc3986.uri_reference(value))
    except RFC3986Exception:
        return False
    raw = URI_MATCHER.match(value)
    grammar = {"path": PATH_ABEMPTY, "query": QUERY_RE, "fragment": FRAGMENT_RE}
    return all(re.fullmatch(rule, raw[part] or "") for part, rule in grammar.items())


GOOD_EMAILS = (
    "anna@example.org",
    "a@b.co",
    "anna.smith+reading@school.example.org",
    "anna_smith-1@example.org",
    "1@example.org",
    "o'brien@example.org",
    "!#$%&'*+/=?^_`{|}~-@example.org",
    "anna@1.example.org",
    "anna@xn--bcher-kva.example",
    "anna@sub-domain.example-site.org",
    "ANNA@EXAMPLE.ORG",
    "a" * 64 + "@example.org",
    "a" * 65 + "@example.org",
    "anna@example.c",
    "anna@" + "d" * 63 + ".org",
)
BAD_EMAILS = (
    "anna",
    "@",
    "@example.org",
    "anna@",
    "anna@@example.org",
    "anna@home@example.org",
    "anna smith@example.org",
    "anna@exam ple.org",
    "anna@example..org",
    "anna@.example.org",
    "anna@example.org.",
    "anna@-example.org",
    "anna@example-.org",
    "anna@exam_ple.org",
    "anna@" + "d" * 64 + ".org",
    "Anna <anna@example.org>",
    "anna@example.org, ben@example.org",
    "anna@example.org;ben@example.org",
    "mailto:anna@example.org",
    "anna@[127.0.0.1]",
    "anna@[IPv6:::1]",
    '"anna smith"@example.org',
    "anna(home)@example.org",
    "anna\\@example.org",
    "ann\u200ba@example.org",
    "änna@example.org",
)
# WHATWG's pattern is what browsers apply, so what a sign-up form has let through must not cost a reader's time.
ONLY_WE_TAKE = {
    "anna@localhost": "a name without a dot, as on an intranet or in a test",
    "anna@server": "a name without a dot",
    "anna@example.123": "a top-level name of digits",
    "anna@127.0.0.1": "an address that reads as names",
    ".anna@example.org": "a dot first",
    "anna.@example.org": "a dot last",
    "an..na@example.org": "two dots together",
    "anna@" + "d" * 63 + ("." + "e" * 60) * 3 + ".org": "a domain of more than 249 characters",
    "anna@ab--cd.example": "two hyphens in the third and fourth place",
    "anna@xn--a.example": "a name in Punycode that says nothing",
}
ONLY_THEY_TAKE = {
    "anna@bücher.example": "IDNA turns the name into xn--bcher-kva: hosts must do so before",
}


@pytest.mark.parametrize("value", GOOD_EMAILS)
def test_an_e_mail_that_everybody_takes(value):
    """Refused: "bad e-mail"; these are good, and email-validator agrees."""
    assert (takes(email, value), is_email(value)) == (True, True)


@pytest.mark.parametrize("value", BAD_EMAILS)
def test_an_e_mail_that_nobody_takes(value):
    """Refused: "bad e-mail", and email-validator agrees."""
    assert (takes(email, value), is_email(value)) == (False, False)


@pytest.mark.parametrize("value", ONLY_WE_TAKE, ids=ONLY_WE_TAKE.values())
def test_an_e_mail_that_browsers_take(value):
    """On purpose: the WHATWG pattern takes it and email-validator does not."""
    assert (takes(email, value), is_email(value)) == (True, False)


@pytest.mark.parametrize("value", ONLY_THEY_TAKE, ids=ONLY_THEY_TAKE.values())
def test_an_e_mail_that_only_email_validator_takes(value):
    """On purpose: what the WHATWG pattern refuses is refused, because the endpoint's schema is no wiser."""
    assert (takes(email, value), is_email(value)) == (False, True)


@given(st.emails(domains=domains()))
@example("a@b.co")
def test_what_rfc_5322_allows_as_dotted_atoms_is_taken(value):
    """Any addr-spec that hypothesis makes is taken, unless it is too long."""
    assert takes(email, value)


@given(
    local=st.text(st.sampled_from("abz09.!#$%&'*+/=?^_`{|}~-"), min_size=1, max_size=12),
    host=st.text(st.sampled_from("abz09-._"), min_size=1, max_size=12),
)
def test_e_mails_are_judged_as_email_validator_does(local, host):
    """Whatever email-validator takes is taken; what we take beyond that is of a kind that is named above."""
    value = f"{local}@{host}.org"
    named = local[0] == "." or local[-1] == "." or ".." in local or re.search(r"(^|\.)..--|xn--", host)
    if is_email(value):
        assert takes(email, value)
    elif takes(email, value):
        assert named


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_is_an_e_mail_by_chance(before, after):
    """Any text around an "@": what we take is ASCII without blanks or controls, with one "@"."""
    value = f"{before}@{after}"
    if takes(email, value):
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value
        assert value.count("@") == 1


def test_the_longest_e_mail_is_judged_at_once():
    """The pattern is linear: the worst that fits is refused before anybody notices."""
    for worst in ("a" * 320, "a@" + "a-" * 159, "a@" + "a." * 159, "a" * 100 + "@" + "a" * 200 + "-"):
        assert not takes(email, worst)


GOOD_URLS = (
    "https://example.org",
    "https://example.org/",
    "http://localhost:8000/page",
    "HTTPS://EXAMPLE.ORG/Page",
    "https://user:word@example.org/",
    "https://example.org:443/a/b;c=1?d=e&f=g#h/i?j",
    "https://example.org:/empty-port",
    "https://127.0.0.1/",
    "https://[::1]:8080/",
    "https://[2001:db8::1]/a",
    "https://ex_ample.org/",
    "https://example.org/%20%C3%A4",
    "https://example.org//a//b/../c",
    "https://example.org/a:b@c!$&'()*+,;=",
    "urn+x-1.0://host/path",
)
# rfc3986 knows URIs only; a browser's address bar knows more, and to_uri makes URIs of it.
ONLY_AFTER_TO_URI = (
    "https://bücher.example/straße?größe=ü#ä",
    "https://example.org/読者/記事",
    "https://example.org/a[1]?b[]=c",
    "https://example.org/a#b#c",
)
BAD_URLS = (
    "example.org",
    "/page",
    "//example.org/page",
    "https:",
    "https:/example.org",
    "https://",
    "https:///page",
    "https://?a",
    "https://#a",
    "://example.org",
    "1http://example.org",
    "ht tp://example.org",
    "mailto:anna@example.org",
    "urn:uuid:7c0d6f0e-6f8a-4e0c-9d0a-3f8f5b0f2a11",
    "javascript:alert(1)",
    "https://example.org/a b",
    "https://example.org/\u00a0",
    "https://example.org/\u2028",
    "https://exam ple.org/",
    "https://example.org/<a>",
    'https://example.org/"a"',
    "https://example.org/{a}",
    "https://example.org/a|b",
    "https://example.org/a\\b",
    "https://example.org/a^b",
    "https://example.org/a`b",
    "https://example.org/%",
    "https://example.org/%2",
    "https://example.org/%zz",
    "https://example.org:65536/",
    "https://example.org:-1/",
    "https://example.org:port/",
    "https://example.org:\u0663/",
    "https://[::1/",
    "https://::1]/",
    "https://[zz]/",
    "https://a@b@example.org/",
    "https://[::1]a/",
)
# RFC 3986 lets a host be empty; nobody can fetch such a page.
ONLY_RFC_3986_TAKES = ("https://:80/", "https://user@/", "https://user:@:1/")


@pytest.mark.parametrize("value", GOOD_URLS)
def test_a_url_that_everybody_takes(value):
    """Absolute URLs are taken, rfc3986 agrees, and they are sent as they are."""
    assert (takes(url, value), is_uri(value), to_uri(value)) == (True, True, value)


@pytest.mark.parametrize("value", ONLY_AFTER_TO_URI)
def test_a_url_that_is_encoded_before_it_is_sent(value):
    """On purpose: letters of any script are taken; what is sent is a URI, and decodes to the same."""
    assert (takes(url, value), is_uri(value), is_uri(to_uri(value))) == (True, False, True)
    assert unquote(to_uri(value)) == value
    assert to_uri(to_uri(value)) == to_uri(value)


@pytest.mark.parametrize("value", BAD_URLS)
def test_a_url_that_nobody_takes(value):
    """Refused: "non-absolute URL", and whatever rfc3986 would refuse once it is encoded."""
    assert (takes(url, value), is_uri(value)) == (False, False)


@pytest.mark.parametrize("value", ONLY_RFC_3986_TAKES)
def test_a_url_needs_a_host(value):
    """On purpose: an empty host is refused, though the grammar allows it."""
    assert (takes(url, value), is_uri(value)) == (False, True)


@given(urls())
def test_urls_are_taken(value):
    """Any http(s) URL that hypothesis makes is taken, rfc3986 agrees, and it is sent as it is."""
    assume(len(value) <= MAX_URL)
    assert (takes(url, value), is_uri(value)) == (True, True)
    assert to_uri(value) == value


@given(
    scheme=st.sampled_from(("https", "http", "x")),
    rest=st.text(st.sampled_from("ab1.-_~:/?#[]@!$&'()*+,;=%2Fü読 \"<>\\^`{|}\u202e"), max_size=20),
)
@example("https", "a:b@c:d@e/")
@example("https", "[v1.a]/")
@example("https", "a[::1]/")
@example("https", "[::1]a/")
@example("https", "a/[?[#[#")
@example("https", "ü:٣")
def test_whatever_is_taken_is_sent_as_a_uri(scheme, rest):
    """What url() takes, to_uri() makes a URI that rfc3986 takes, with the same host, and to_uri() leaves it alone."""
    value = f"{scheme}://{rest}"
    if takes(url, value):
        uri = to_uri(value)
        assert is_uri(uri)
        assert to_uri(uri) == uri
        assert unquote(urlsplit(uri).netloc) == unquote(urlsplit(value).netloc)
    else:
        assert not is_uri(value) or not rfc3986.uri_reference(value).host


@given(st.text(max_size=60))
def test_an_id_is_plain_text_or_a_url(value):
    """Identity: anything printable is an id; what begins like a URL must be one."""
    printable = not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in value)
    if is_url(value):
        assert takes(identifier, value) == takes(url, value)
    else:
        assert takes(identifier, value) == (printable and bool(value.strip()))


@pytest.mark.parametrize(
    ("value", "kind"), [(None, MissingField), ("", MissingField), (" ", InvalidInput), (b"", InvalidInput)]
)
def test_nothing_is_missing_and_blank_is_wrong(value, kind):
    """MissingField: None or empty; blank text was given, and is wrong."""
    for check in (email, url, identifier, lambda v, field: text(v, field, 9)):
        with pytest.raises(InvalidInput) as caught:
            check(value, "field")
        assert type(caught.value) is kind


def test_lengths_are_in_characters():
    """Lengths: "ids ≤ 255, title ≤ 1,000, URL ≤ 2,048 characters", whatever bytes they take."""
    assert takes(identifier, "読" * 255)
    assert not takes(identifier, "読" * 256)
    stem = "https://example.org/"
    assert takes(identifier, stem + "x" * (2048 - len(stem)))
    assert not takes(identifier, stem + "x" * (2049 - len(stem)))
    assert takes(email, "a" * 308 + "@example.org")
    assert not takes(email, "a" * 309 + "@example.org")


def test_counts():
    """A count is a whole number that a database can take; True is none."""
    for good in (1, 2**63 - 1):
        assert takes(count, good)
    for bad in (0, -1, 2**63, True, 1.0, "1", None, b"1", [1]):
        assert not takes(count, bad)


@pytest.mark.parametrize("value", [None, "", "reading", [], {}, object(), 5, float("nan"), b"Reading", "x" * 10**6])
def test_no_member(value):
    """A value that is no member is told by None, not by an error that quotes it."""
    assert member(Subject, value) is None


def test_members():
    """A member is itself, and its value names it."""
    assert member(Subject, Subject.MATH) is member(Subject, "Math") is Subject.MATH


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("(bad a@b.example): mend it", "(bad (e-mail address)): mend it"),
        ("422 for a@b.example, c@d", "422 for (e-mail address), (e-mail address)"),
        ("<a@b.example>", "(e-mail address)>"),
        ("is it a@b.c?!", "is it (e-mail address)?!"),
        ("a@b.c)x", "(e-mail address)"),
        ("a@) b", "(e-mail address) b"),
        ("no @ here", "no @ here"),
    ],
)
def test_an_address_goes_and_its_sentence_stays(words, left):
    """G2: what ends a clause behind an address is left standing; whatever hangs on to it goes with it."""
    assert without_emails(words) == left


@given(st.text(alphabet="a@.,:;!?)]}> "))
def test_no_address_is_left(words):
    """G2: nothing with an at sign between other characters is left of any text."""
    assert not re.search(r"[^\s@]@\S", without_emails(words))
