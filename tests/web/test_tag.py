"""A page is never broken for read time: what templates pass is made acceptable, or told once, and the page goes on."""

from __future__ import annotations

import uuid

import pytest
from flask import Flask, render_template_string

from caliper_readtime import Activity, Article, InvalidInput, ReadTimeError
from caliper_readtime.web import _cleaning
from caliper_readtime.web import flask as flask_adapter
from tests.scenes import ANNA
from tests.web.sites import OWLS, READERS, SECRETS, django_site, flask_site
from tests.web.test_pages import attributes

URLS = "/readtime/readtime.js", "/readtime/signals"
FIELDS = {"resource_id": "owls", "title": "Owls", "url": "https://a.example.org/owls"}


def ticket(site, reader="anna", **changed):
    """What the ticket of a page with these fields says."""
    return site.opened(ticket_text(site, reader, **changed))


def ticket_text(site, reader="anna", **changed):
    """The ticket of a page with these fields."""
    return attributes(site.counter.script_tag(URLS, reader, **{**FIELDS, **changed}))["data-ticket"]


def test_other_kinds(site):
    """A template names kind, attempt, words and extensions as it names a title; what it does not have is left out."""
    video = ticket(site, kind="video", attempt=2, extensions={"runId": "1"}, words=None, course="").article
    assert video == Activity(**FIELDS, kind="video", attempt=2, extensions={"runId": "1"})
    article = ticket(site, words=800, kind=None).article
    assert article == Article(**FIELDS, words=800)
    assert type(article) is Article


def test_a_ticket_of_a_plain_article_is_as_long_as_before(site):
    """Nothing is said of what an article does not have; what it has costs a few characters."""
    plain, longer = (ticket_text(site, **more) for more in ({}, {"words": 800}))
    assert len(longer) - len(plain) <= 24


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Owls\tand\nbees", "Owls and bees"),
        ("Owls\x85\x9f\x00bees", "Owls bees"),
        ("  Owls  ", "Owls"),
        ("Owls\u2028bees\u202egnilaeh", "Owls bees gnilaeh"),
        ("Owls \ud800", "Owls"),
        ("🦉🦉 Eulen — 猫头鹰", "🦉🦉 Eulen — 猫头鹰"),
        ("👩\u200d🔬 Science", "👩\u200d🔬 Science"),
        ("x" * 1001, "x" * 1000),
        ("", "owls"),
        (" \t ", "owls"),
        (None, "owls"),
        (7, "7"),
    ],
)
def test_titles(site, given, kept):
    """A title with a tab, a line break or an invisible character, a long or a blank one: the page counts."""
    assert ticket(site, title=given).article.title == kept


def test_a_title_that_no_ticket_has_room_for(site):
    """A thousand emoji and a long address: the title is shortened, and the page counts."""
    title = "".join(chr(0x1F300 + n * 7919 % 700) for n in range(1000))
    said = ticket(site, title=title, url="https://a.example.org/" + "".join(chr(97 + n * n % 26) for n in range(500)))
    assert title.startswith(said.article.title)
    assert len(said.article.title) >= 50


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://a.example.org/a b", "https://a.example.org/a%20b"),
        ("https://a.example.org/100%", "https://a.example.org/100%25"),
        ("https://a.example.org/%zz%41", "https://a.example.org/%25zz%41"),
        ('https://a.example.org/"|^{}\\<>`', "https://a.example.org/%22%7C%5E%7B%7D%5C%3C%3E%60"),
        ("https://a.example.org/Eulen/猫", "https://a.example.org/Eulen/%E7%8C%AB"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://bücher.example:8443/x", "https://xn--bcher-kva.example:8443/x"),
        ("https://a.example.org/a\nb\tc", "https://a.example.org/abc"),
        (" https://a.example.org/ ", "https://a.example.org/"),
        ("/articles/owls", "https://news.example.org/articles/owls"),
        ("articles/ü?q=1", "https://news.example.org/articles/%C3%BC?q=1"),
        ("//cdn.example.org/x", "https://cdn.example.org/x"),
        ("https://a.example.org/x?" + "q" * 3000 + "#f", "https://a.example.org/x"),
    ],
)
def test_urls(site, given, kept):
    """IRIs, what frameworks unquote, hosts with umlauts, relative and long addresses become the URI that they mean."""
    assert ticket(site, url=given, base_url="https://news.example.org/").article.url == kept


@pytest.mark.parametrize("number", [7, uuid.UUID(int=7)])
def test_ids_may_be_numbers(make_site, number):
    """A database's key is an id, for reader and article."""
    site = make_site(reader=lambda sourced_id: READERS["anna"])
    said = ticket(site, number, resource_id=number)
    assert (said.reader_sourced_id, said.article.resource_id) == (str(number), str(number))


BAD = {
    "nobody": {"reader": None},
    "nobody's id": {"reader": ""},
    "a flag": {"reader": True},
    "an object": {"reader": object()},
    "no article": {"resource_id": None},
    "a long id": {"resource_id": "x" * 256},
    "an id with a line break": {"resource_id": "a\nb"},
    "no address": {"url": None},
    "a relative address and no base": {"url": "/articles/owls"},
    "a script": {"url": "javascript://a.example.org/%0aalert(1)"},
    "a file": {"url": "file:///etc/passwd"},
    "a bad host": {"url": "https://[1/"},
    "a bad length": {"duration_seconds": -1},
    "a mistyped option": {"dept": 1},
    "a bad subject": {"subject": "Alchemy"},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_cannot_be_cleaned_is_told_and_the_page_goes_on(site, caplog, bad):
    """One ERROR, at the first, tenth and hundredth page, which names the field; no tag; raised in debug alone."""
    given = {**FIELDS, **bad}
    reader = given.pop("reader", "anna")
    for _ in range(12):
        assert site.counter.script_tag(URLS, reader, **given) == ""
    lines = [record for record in caplog.records if "a page is not counted" in record.getMessage()]
    assert [(line.levelname, line.count) for line in lines] == [("ERROR", 1), ("ERROR", 10)]
    with pytest.raises(InvalidInput):
        site.counter.script_tag(URLS, reader, **given, debug=True)


def test_nothing_of_what_was_passed_leaks(site, caplog):
    """An object that is passed for a reader, and an address for an id, are not written out."""

    class User:
        def __str__(self):
            return "anna@example.org"

        __repr__ = __str__

    site.counter.script_tag(URLS, User(), **FIELDS)
    site.counter.script_tag(URLS, "anna@example.org", **{**FIELDS, "url": "anna@example.org"})
    assert caplog.text.count("a page is not counted") == 2
    assert "anna@" not in caplog.text


def test_whatever_is_broken_the_page_goes_on(make_site, caplog):
    """Settings that are missing, a store that is away, a bug of anybody's: no tag, and the log says why."""
    for error in (InvalidInput("x", "is wrong"), ReadTimeError("settings"), LookupError("anna@example.org")):
        site = make_site()

        def broken(error=error):
            raise error

        site.counter._make, site.counter._tracker = broken, None
        assert site.counter.script_tag(URLS, "anna", OWLS) == ""
        with pytest.raises(type(error)):
            site.counter.script_tag(URLS, "anna", OWLS, debug=True)
    assert caplog.text.count("a page is not counted") == 3
    assert "anna@" not in caplog.text


def test_reasons_are_counted_in_bounded_memory(site):
    """However many different reasons there are."""
    for n in range(1000):
        site.counter.script_tag(URLS, "anna", OWLS, **{f"option_{n}": 1})
    assert len(site.counter._not_counted) <= 100


# In the frameworks

PAGE = "{{ readtime_script(reader, resource_id=7, title=title, url=url) }}"


@pytest.mark.parametrize("debug", [False, True])
def test_flasks_pages(debug):
    """Flask gives an IRI for its own page, and in templates names that are missing are undefined."""
    app = Flask("pages", static_folder=None)
    app.config.update(SECRET_KEY=SECRETS[0])
    app.debug = debug
    with flask_site() as site:
        counter = flask_adapter.init_app(app, tracker=site.tracker, reader=READERS.get)
        site.counter = counter

        @app.get("/<path:name>")
        def page(name):
            from flask import request  # noqa: PLC0415

            return render_template_string(PAGE, reader=ANNA, title="T\n", url=request.base_url)

        @app.get("/nobody")
        def nobody():
            return render_template_string(PAGE, title="T", url="/x")

        client = app.test_client()
        for path, url in (
            ("/a%25b%22%7C%5E%7B%5C%3C%3C%60", "http://localhost/a%25b%22%7C%5E%7B%5C%3C%3C%60"),
            ("/%C3%BC/x", "http://localhost/%C3%BC/x"),
        ):
            answer = client.get(path)
            assert answer.status_code == 200
            assert site.opened(attributes(answer.text)["data-ticket"]).article.url == url
        if debug:
            with pytest.raises(InvalidInput):
                client.get("/nobody")
        else:
            assert client.get("/nobody").text == ""
            assert client.get("/x", headers={"Host": "b%C3%BCcher.example"}).text == "", "its address is none"


@pytest.mark.parametrize("debug", [False, True])
def test_djangos_pages(debug):
    """A primary key, a relative address as ``{% url %}`` gives, a bad Host; an anonymous reader."""
    from django.template import engines  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    source = "{% load readtime %}{% readtime_script reader resource_id=7 title=title url=url %}"

    def render(request, **values):
        return engines["django"].from_string(source).render(values, request)

    with django_site(overrides={"DEBUG": debug, "ALLOWED_HOSTS": ["news.example.org"]}) as site:
        good = RequestFactory().get("/x", headers={"Host": "news.example.org"})
        said = site.opened(attributes(render(good, reader=7, title="\t", url="/articles/7"))["data-ticket"])
        assert (said.article.url, said.article.title) == ("http://news.example.org/articles/7", "7")
        bad = RequestFactory().get("/x", headers={"Host": "evil.example"})
        assert "data-ticket" in attributes(render(bad, reader=7, title="T", url="https://a.example.org/7"))
        if debug:
            with pytest.raises(InvalidInput):
                render(good, title="T", url="/x")
        else:
            assert render(good, title="T", url="/x") == ""


def test_articles_are_pages():
    """Elsewhere the types stay strict: an article's address is one of http or https."""
    for url in ("javascript://x/%0aalert(1)", "ftp://x.example/a", "data://x/a"):
        with pytest.raises(InvalidInput):
            Article("owls", "Owls", url)
    assert _cleaning.identifier(True) is True
