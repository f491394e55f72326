"""What arrived in an endpoint file."""

from __future__ import annotations

import json
from collections import Counter


def lines_of(endpoint):
    """Every event that arrived, as the bytes that arrived; a line that a death has torn is passed over."""
    lines = endpoint.read_bytes().splitlines() if endpoint.exists() else []
    return [line for line in lines if line.endswith(b"}") and _parses(line)]


def _parses(line):
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def distinct(endpoint):
    """The events by id. An id that came twice brought the same event, byte for byte."""
    found = {}
    for line in lines_of(endpoint):
        event = json.loads(line)
        assert found.setdefault(event["id"], line) == line
    return {event_id: json.loads(line) for event_id, line in found.items()}


def repeats(endpoint):
    """How many deliveries brought an event that had arrived before."""
    return sum(Counter(lines_of(endpoint)).values()) - len(distinct(endpoint))


def seconds_of(endpoint):
    """The distinct seconds by actor id and activity id."""
    seconds = Counter()
    for event in distinct(endpoint).values():
        (item,) = event["generated"]["items"]
        seconds[event["actor"]["id"], event["object"]["activity"]["id"]] += item["value"]
    return seconds
