"""The store keeps the contract, and refuses to be a part of another transaction."""

import os

import pytest
from django.db import connection, transaction
from readtime_store.models import Fact, ReadTime
from readtime_store.store import DjangoStateStore

from caliper_readtime import Article, ConfigurationError, Reader, ReadTimeTracker, TimeSpentEvents
from caliper_readtime.testing import RecordingEmitter, StateStoreContract


@pytest.fixture
def store():
    """An empty store."""
    ReadTime.objects.all().delete()
    Fact.objects.all().delete()
    return DjangoStateStore()


class TestDjangoStateStore(StateStoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, store):
        """The fixture above."""
        return store

    @pytest.fixture
    def reopen(self):
        """Another object on the same tables."""
        return DjangoStateStore

    @pytest.fixture
    def lose_due(self):
        """The whole index is lost."""
        return lambda: ReadTime.objects.update(due_at_ms=None)


def test_it_is_never_a_part_of_another_transaction(store):
    """What a request rolls back afterwards may have been sent, so nothing is counted inside a request's transaction."""
    tracker = ReadTimeTracker(
        store, RecordingEmitter(), TimeSpentEvents("https://app.example.org", "App", "https://roster.example.org")
    )
    reader, article = Reader("u1", "s@example.org"), Article("nice_x1", "Leaves", "https://app.example.org/leaves")
    with transaction.atomic(), pytest.raises(ConfigurationError, match="non_atomic_requests"):
        tracker.accumulate(reader, article, 10.0)
    assert tracker.state(reader, article) is None
    tracker.accumulate(reader, article, 10.0)
    assert tracker.finalize(reader, article).delta_seconds == 10.0


def test_a_fork_shares_no_connection(store):
    """A connection that the parent had open is none of the child's."""
    store.now()
    assert connection.connection is not None
    child = os.fork()
    if not child:
        os._exit(0 if connection.connection is None and store.last_sweep() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
