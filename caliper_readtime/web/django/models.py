"""The tables of ``STORE_URL=django://``: a row for each reader and article, and what all users of them must share."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class State(models.Model):
    """One reader's time on one article: the meter in columns, the ledger as text, and what it is found by."""

    #: Both ids with a line break between, which neither can contain.
    key: models.TextField[str, str] = models.TextField(primary_key=True)
    reader: models.CharField[str, str] = models.CharField(max_length=255)
    resource: models.CharField[str, str] = models.CharField(max_length=255)
    #: Another number at every write: what was read is still there, or it is not.
    nonce: models.BigIntegerField[int, int] = models.BigIntegerField()
    cumulative_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    last_sync_at_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    budget_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    since_at_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    clamped_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    position_ms: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    views: models.TextField[str, str] = models.TextField()
    heartbeats: models.TextField[str, str] = models.TextField()
    ledger: models.TextField[str, str] = models.TextField()
    due_at_ms: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    soft: models.BooleanField[bool, bool] = models.BooleanField()
    expires_at_ms: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    parked: models.IntegerField[int, int] = models.IntegerField()

    class Meta:
        """An index for each question. A steady heartbeat touches no column of any, so it moves no index."""

        verbose_name = "reading time"
        verbose_name_plural = "reading times"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["reader"], name="readtime_reader"),
            models.Index(
                fields=["soft", "due_at_ms"], name="readtime_due", condition=models.Q(due_at_ms__isnull=False)
            ),
            models.Index(
                fields=["expires_at_ms"], name="readtime_expires", condition=models.Q(expires_at_ms__isnull=False)
            ),
            models.Index(fields=["key"], name="readtime_parked", condition=models.Q(parked__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.reader} on {self.resource}"


class Wall(models.Model):
    """What a reader has claimed on all articles, as it fits into wall time."""

    reader: models.CharField[str, str] = models.CharField(max_length=255, primary_key=True)
    expires_at_ms: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)
    record: models.TextField[str, str] = models.TextField()

    def __str__(self) -> str:
        return self.reader


class Fact(models.Model):
    """What every user of these tables must share, and the time of the last sweep."""

    name: models.CharField[str, str] = models.CharField(max_length=64, primary_key=True)
    value: models.TextField[str, str] = models.TextField()

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
