"""Runs Sentry's page with the real SDK, and prints what it would send, a JSON document a line: kind and payload."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import partial
from unittest import mock

import sentry_sdk
from sentry_sdk.transport import Transport

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    InMemoryStateStore,
    ReadTimeError,
    StoreUnavailable,
)
from tests.recipes.pages import ran
from tests.scenes import ANNA, BEES, OWLS, Scene


class Printed(Transport):
    """Sends nothing anywhere."""

    def capture_envelope(self, envelope):
        for item in envelope.items:
            sys.stdout.write(json.dumps([item.type, item.payload.json]) + "\n")


class Away(InMemoryStateStore):
    """Does not answer a sweep."""

    def due(self, *_, **__):
        raise StoreUnavailable("the store is gone")


def main():
    """Read, and let the endpoint refuse an event, then be away, then refuse us; let a sweep meet no store."""
    init = partial(sentry_sdk.init, dsn="http://key@127.0.0.1:9/1", transport=Printed())
    with mock.patch.object(sentry_sdk, "init", init), ran("sentry") as page:
        scene = Scene(InMemoryStateStore)
        refused, away = EventRejected(ANNA.email, status=422), EmitterUnavailable(ANNA.email)
        for what, error in ((OWLS, refused), (BEES, away), (BEES, EndpointRefused("no"))):
            scene.read(ANNA, what, 30)
            scene.emitter.fail(error)
            with suppress(ReadTimeError):
                scene.tracker.finalize(ANNA, what)
        page["tracker"] = Scene(Away).tracker
        with suppress(StoreUnavailable):
            page["sweep_reading_time"]()


if __name__ == "__main__":
    main()
