"""How a host tests its own pages: no browser, no network, no wait."""

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "news.settings")
django.setup()  # pytest-django does these two lines by itself

from django.test import Client  # noqa: E402 - Django is set up first

from caliper_readtime import Article, Reader  # noqa: E402
from caliper_readtime.testing import assert_reported  # noqa: E402
from caliper_readtime.web.django import current_page_counter  # noqa: E402

READER = Reader("u1", "anna@example.org")
LEAVES = Article("nice_x1", "How leaves eat light", "https://news.example.org/articles/leaves")


@pytest.fixture
def tracker(readtime_tracker):
    current_page_counter().tracker = readtime_tracker
    return readtime_tracker


@pytest.fixture
def client():
    client = Client()
    client.get("/login/u1")
    return client


def test_banking_reports_first(client, tracker):
    tracker.accumulate(READER, LEAVES, 10)
    assert client.post("/bank").json() == {"settled": True, "seconds_sent": 10.0}
    assert_reported(tracker.emitter, READER, LEAVES, 10)


def test_article_pages_count(client, tracker):
    assert 'data-url="/readtime/signals"' in client.get("/articles/leaves").content.decode()
