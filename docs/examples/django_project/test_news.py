"""How a host tests its own pages: no browser, no network, no wait."""

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "news.settings")
django.setup()  # pytest-django does these two lines by itself

from django.test import Client  # noqa: E402 - Django is set up first

from caliper_readtime import Article, InMemoryStateStore, Reader, ReadTimeTracker, TimeSpentEvents  # noqa: E402
from caliper_readtime.testing import RecordingEmitter  # noqa: E402
from caliper_readtime.web.django import current_host, current_tracker  # noqa: E402

EVENTS = TimeSpentEvents("https://news.example.org", "Example News", "https://oneroster.example.org")
READER = Reader("u1", "anna@example.org")
LEAVES = Article("nice_x1", "How leaves eat light", "https://news.example.org/articles/leaves")


@pytest.fixture
def emitter():
    emitter = RecordingEmitter()
    current_host().tracker = ReadTimeTracker(InMemoryStateStore(), emitter, EVENTS)
    return emitter


@pytest.fixture
def client():
    client = Client()
    client.get("/login/u1")
    return client


def test_banking_reports_first(client, emitter):
    current_tracker().accumulate(READER, LEAVES, 10.0)
    assert client.post("/bank").json() == {"settled": True, "seconds_sent": 10.0}
    assert emitter.seconds(READER, LEAVES) == 10.0


def test_article_pages_count(client, emitter):
    assert 'data-url="/readtime/signals"' in client.get("/articles/leaves").content.decode()
