"""The table of what each reader has claimed on all articles (``reader_budget``)."""

from collections.abc import Sequence
from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Makes it."""

    dependencies: ClassVar[Sequence[tuple[str, str]]] = [("caliper_readtime", "0001_store")]
    operations: ClassVar[Sequence[Operation]] = [
        migrations.CreateModel(
            name="Wall",
            fields=[
                ("reader", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("expires_at_ms", models.BigIntegerField(db_index=True)),
                ("record", models.TextField()),
            ],
        ),
    ]
