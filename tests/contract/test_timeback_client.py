"""The official client against the loopback endpoint: it sends, lists, gets and asks for jobs as at the service."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest

from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing.behaviours import Reply202JobId
from tests.endpoint_client import event, post

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="timeback-caliper needs Python 3.12")
SENSOR = "https://app.example.org"


@asynccontextmanager
async def client_of(endpoint):
    """The official client, on the official transport, without the token that loopback does not ask for."""
    timeback = pytest.importorskip("timeback_caliper", reason="timeback-caliper is not installed")
    from timeback_caliper.lib.transport import Transport  # noqa: PLC0415
    from timeback_common import CaliperPaths  # noqa: PLC0415

    paths = CaliperPaths(
        send="/caliper/event",
        validate="/caliper/event/validate",
        list="/caliper/events",
        get="/caliper/events/{id}",
        job_status="/jobs/{id}/status",
    )
    base = endpoint.url.removesuffix("/caliper/event")
    transport = Transport(base_url=base, paths=paths, no_auth=True)
    try:
        yield timeback.CaliperClient(transport=transport)
    finally:
        await transport.close()


def test_list_get_and_pages():
    """``list``, ``stream`` and ``get`` read stored events, each with a number of its own and its id as external id."""

    async def asked(endpoint):
        async with client_of(endpoint) as client:
            listed = await client.events.list(actor_id=event()["actor"]["id"], limit=2, offset=2)
            streamed = await client.events.stream(limit=2).to_list()
            got = await client.events.get(event("b")["id"])
            return listed, streamed, got

    with CaliperEndpoint() as endpoint:
        post(endpoint, *map(event, "abc"))
        listed, streamed, got = asyncio.run(asked(endpoint))
    assert [(row.id, row.external_id) for row in listed.events] == [(3, event("c")["id"])]
    assert (listed.pagination.total, listed.pagination.total_pages) == (3, 2)
    assert [row.id for row in streamed] == [1, 2, 3]
    assert (got.id, got.sensor, got.action) == (2, SENSOR, "SpentTime")


def test_what_it_sends_is_taken():
    """Its own events, activities completed among them, are what ``strict=False`` takes, and its job is known."""
    pytest.importorskip("timeback_caliper", reason="timeback-caliper is not installed")
    types = pytest.importorskip("timeback_caliper.types.timeback")
    who = types.TimebackUser(id=event()["actor"]["id"], email="s@example.org")
    what = types.TimebackActivityContext(
        id="https://app.example.org/article-1", subject="Reading", app=types.TimebackApp(name="App")
    )

    async def sent(endpoint):
        async with client_of(endpoint) as client:
            metrics = [types.TimebackActivityMetric(type="totalQuestions", value=1)]
            done = types.ActivityCompletedInput(actor=who, object=what, metrics=metrics)
            result = await client.events.send_activity(SENSOR, done)
            return await client.jobs.get_status(result.job_id)

    with CaliperEndpoint(strict=False, success=Reply202JobId()) as endpoint:
        status = asyncio.run(sent(endpoint))
        (stored,) = endpoint.deliveries
    assert stored["type"] == "ActivityEvent"
    assert (status.state, [one.allocated_id for one in status.return_value.results]) == ("completed", ["1"])
