"""The tables: a row for each reader and article, and what all users of the database must share."""

from __future__ import annotations

from django.db import models


class ReadTime(models.Model):
    """One reader's time on one article."""

    reader = models.CharField(max_length=255)
    resource = models.CharField(max_length=255)
    # The meter
    cumulative_ms = models.BigIntegerField()
    last_sync_at_ms = models.BigIntegerField()
    budget_ms = models.BigIntegerField()
    since_at_ms = models.BigIntegerField()
    clamped_ms = models.BigIntegerField()
    position_ms = models.BigIntegerField(null=True)
    views = models.TextField()
    heartbeats = models.TextField()
    # The ledger, as JSON
    ledger = models.TextField()
    # What the state says of itself, to be found by
    due_at_ms = models.BigIntegerField(null=True)
    soft = models.BooleanField()
    expires_at_ms = models.BigIntegerField(null=True)
    parked = models.BooleanField()

    class Meta:
        """One row for each key, and an index for each question."""

        constraints = (models.UniqueConstraint("reader", "resource", name="readtime_key"),)
        indexes = (
            models.Index(fields=["soft", "due_at_ms"], name="readtime_due"),
            models.Index(fields=["expires_at_ms"], name="readtime_expires"),
            models.Index(fields=["id"], name="readtime_parked", condition=models.Q(parked=True)),
        )

    def __str__(self) -> str:
        return f"{self.reader} on {self.resource}"


class Fact(models.Model):
    """A fact that every user of this database must share, or the time of the last sweep."""

    name = models.CharField(max_length=64, primary_key=True)
    value = models.TextField()

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
