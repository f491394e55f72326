"""A ledger's text as one document that tests can change anywhere, and such a document as text again."""

from __future__ import annotations

import json


def document_of(text):
    """Return a ledger's fields with its claim's event, and the steps of its history, where they belong.

    Raises:
        ValueError: it is none.
    """
    first, *lines = text.split("\n")
    document = json.loads(first)
    if not isinstance(document, dict):
        raise ValueError("no fields")  # noqa: TRY004
    if isinstance(document.get("claim"), dict) and lines:
        document["claim"]["event"] = lines.pop(0)
    if "history" in document:
        if document["history"] != len(lines) - 1:
            raise ValueError("another number of steps")
        document["history"] = [json.loads(line) for line in lines[:-1]]
    return document


def text_of(document):
    """Return a document as a ledger's text."""
    if not isinstance(document, dict):
        return f"{json.dumps(document)}\n"
    claim, steps = document.get("claim"), document.get("history")
    lines = []
    if isinstance(claim, dict) and "event" in claim:
        event = claim["event"]
        lines.append(event if isinstance(event, str) else json.dumps(event))
        document = {**document, "claim": {name: part for name, part in claim.items() if name != "event"}}
    if isinstance(steps, list):
        lines += [json.dumps(step, separators=(",", ":")) for step in steps]
        document = {**document, "history": len(steps)}
    return "\n".join([json.dumps(document), *lines, ""])
