"""The tables of ``STORE_URL=django://``; without it they stay empty."""

from collections.abc import Sequence
from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Makes them."""

    initial: ClassVar[bool | None] = True
    dependencies: ClassVar[Sequence[tuple[str, str]]] = []
    operations: ClassVar[Sequence[Operation]] = [
        migrations.CreateModel(
            name="Fact",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("value", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="State",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("reader", models.CharField(max_length=255)),
                ("resource", models.CharField(max_length=255)),
                ("nonce", models.BigIntegerField()),
                ("cumulative_ms", models.BigIntegerField()),
                ("last_sync_at_ms", models.BigIntegerField()),
                ("budget_ms", models.BigIntegerField()),
                ("since_at_ms", models.BigIntegerField()),
                ("clamped_ms", models.BigIntegerField()),
                ("position_ms", models.BigIntegerField(null=True)),
                ("views", models.TextField()),
                ("heartbeats", models.TextField()),
                ("ledger", models.TextField()),
                ("due_at_ms", models.BigIntegerField(null=True)),
                ("soft", models.BooleanField()),
                ("expires_at_ms", models.BigIntegerField(null=True)),
                ("parked", models.IntegerField()),
            ],
            options={
                "verbose_name": "reading time",
                "verbose_name_plural": "reading times",
                "indexes": [
                    models.Index(fields=["reader"], name="readtime_reader"),
                    models.Index(
                        condition=models.Q(("due_at_ms__isnull", False)),
                        fields=["soft", "due_at_ms"],
                        name="readtime_due",
                    ),
                    models.Index(
                        condition=models.Q(("expires_at_ms__isnull", False)),
                        fields=["expires_at_ms"],
                        name="readtime_expires",
                    ),
                    models.Index(condition=models.Q(("parked__gt", 0)), fields=["key"], name="readtime_parked"),
                ],
            },
        ),
    ]
