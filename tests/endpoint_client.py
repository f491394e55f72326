"""A bare HTTP client, and events, for tests of the loopback endpoint."""

import http.client
import json
import socket
from contextlib import closing
from urllib.parse import quote, urlsplit
from uuid import NAMESPACE_URL, uuid5

import attrs

from caliper_readtime.testing._strict_schema import CALIPER_VERSION
from tests.scenes import WAIT_SECONDS

JSON = {"Content-Type": "application/json"}
GONE = (ConnectionError, http.client.RemoteDisconnected)


def event(name="e1", seconds=42, *, reader="u1", resource="r1"):
    return {
        "@context": CALIPER_VERSION,
        "id": f"urn:uuid:{uuid5(NAMESPACE_URL, name)}",
        "type": "TimeSpentEvent",
        "profile": "TimebackProfile",
        "action": "SpentTime",
        "eventTime": "2026-11-24T16:00:42.000Z",
        "actor": {"id": f"https://roster.example/users/{reader}", "type": "TimebackUser", "email": "s@example.org"},
        "object": {
            "id": "https://app.example.org/article-1",
            "type": "TimebackActivityContext",
            "subject": "Reading",
            "app": {"name": "App"},
            "activity": {"id": f"https://roster.example/resources/{resource}", "name": "Article"},
        },
        "generated": {
            "id": "urn:uuid:0b0f6a52-2d2e-4d0f-8a0e-0d8e6e4c9a10",
            "type": "TimebackTimeSpentMetricsCollection",
            "items": [{"type": "active", "value": seconds}, {"type": "inactive", "value": 7}],
        },
    }


def envelope(*events, version=CALIPER_VERSION):
    return {
        "sensor": "https://app.example.org",
        "sendTime": "2026-11-24T16:00:42.500Z",
        "dataVersion": version,
        "data": list(events),
    }


@attrs.frozen
class Got:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(url, method="GET", body=None, headers=None, timeout=WAIT_SECONDS):
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)) as connection:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers or {})
        response = connection.getresponse()
        return Got(response.status, response.headers, response.read())


def post(endpoint, *events, suffix="", headers=None, timeout=WAIT_SECONDS):
    return ask(endpoint.url + suffix, "POST", json.dumps(envelope(*events)), {**JSON, **(headers or {})}, timeout)


def read(endpoint, event_id):
    return ask(endpoint.url + f"s/{quote(event_id, safe='')}")


def connected(endpoint):
    return socket.create_connection(("127.0.0.1", urlsplit(endpoint.url).port), timeout=WAIT_SECONDS)


def head(*fields):
    lines = ("POST /caliper/event HTTP/1.1", "Host: x", "Content-Type: application/json", *fields, "", "")
    return "\r\n".join(lines).encode()
