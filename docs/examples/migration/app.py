"""The existing route, moved from the old flow to a tracker in four stages, while the old client stays as it is.

Every delta goes to exactly one flow that reports, and each flow reports only what it has counted itself: no stage, and
no way back, can lose a second or report one twice.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from flask import Flask, request

from caliper_readtime import Article, Reader, ReadTimeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from old_flow import OldFlow

    from caliper_readtime import ReadTimeTracker

logger = logging.getLogger(__name__)


class Stage(StrEnum):
    """How far the migration is; a setting, the same on every host."""

    OLD = "old"  # nothing has changed
    SHADOW = "shadow"  # the old flow counts and reports; a tracker counts beside it, and writes its events to a file
    CANARY = "canary"  # some readers are counted and reported by the tracker, the others by the old flow
    NEW = "new"  # every reader is; what the old flow still holds is drained


class Migration:
    """Decides which flow takes a reader's time.

    Args:
        old: the old flow.
        new: the tracker that will report, with the real endpoint.
        shadow: a tracker with a ``JsonLinesEmitter`` and a store of its own (Redis: a namespace of its own).
        stage: how far the migration is.
        canary_percent: how many of a hundred readers the tracker takes at the stage CANARY.
    """

    def __init__(
        self,
        old: OldFlow,
        new: ReadTimeTracker,
        shadow: ReadTimeTracker,
        stage: Stage = Stage.OLD,
        canary_percent: int = 0,
    ) -> None:
        self.old = old
        self.new = new
        self.shadow = shadow
        self.stage = stage
        self.canary_percent = canary_percent

    def moved(self, reader: Reader) -> bool:
        """Whether the tracker takes this reader: always the same one for the same percentage, and more for more."""
        bucket = int.from_bytes(sha256(reader.sourced_id.encode()).digest()[:4]) % 100
        return self.stage is Stage.NEW or (self.stage is Stage.CANARY and bucket < self.canary_percent)

    def heartbeat(self, reader: Reader, article: Article, delta_seconds: float) -> None:
        """Take a delta."""
        if self.moved(reader):
            self.new.accumulate(reader, article, delta_seconds)
            return
        self.old.heartbeat(reader, article, delta_seconds)
        if self.stage is Stage.SHADOW:
            try:
                self.shadow.accumulate(reader, article, delta_seconds)
            except ReadTimeError:
                logger.exception("the shadow failed; the old flow has counted")

    def leave(self, reader: Reader, article: Article) -> None:
        """Report what is unreported, in whichever flow it is: a reader who was just moved has time in both."""
        self.old.leave(reader, article)
        tracker = self.shadow if self.stage is Stage.SHADOW else self.new
        try:
            tracker.partial(reader, article)
        except ReadTimeError:
            logger.exception("not reported now; the sweep will do it")

    def drain(self, known: list[tuple[Reader, Article]]) -> int:
        """Let the old flow report what it still holds, and remove it; return how many of its states are left."""
        for reader, article in known:
            if self.moved(reader):
                self.old.leave(reader, article)
                self.old.forget(reader, article)
        return len(self.old.cache)


def create_app(migration: Migration, readers: Mapping[str, Reader], articles: Mapping[str, Article]) -> Flask:
    app = Flask(__name__)

    @app.post("/api/reading")
    def reading() -> tuple[str, int]:
        """The route as the old client knows it: ``{"ids": {"user": …, "article": …}, "delta": seconds}``."""
        said = request.get_json()
        migration.heartbeat(readers[said["ids"]["user"]], articles[said["ids"]["article"]], said["delta"])
        return "", 204

    @app.post("/api/reading/leave")
    def leave() -> tuple[str, int]:
        said = request.get_json()
        migration.leave(readers[said["ids"]["user"]], articles[said["ids"]["article"]])
        return "", 204

    return app
