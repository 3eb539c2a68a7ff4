from datetime import UTC, datetime

from django.db import migrations, models

# They are made again from the readings; nothing else knows when a span was lowest and highest.
FORGET_ROLLUPS = """
DELETE FROM telemetry_minuterollup; DELETE FROM telemetry_hourrollup;
DELETE FROM telemetry_changedminute; DELETE FROM telemetry_rollupprogress
"""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_time(model_name: str, name: str, word: str) -> migrations.AddField:
    field = models.DateTimeField(help_text=f"When it was {word} for the first time.", default=EPOCH)
    return migrations.AddField(model_name, name, field, preserve_default=False)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0004_rollups")]

    operations = [
        migrations.RunSQL(FORGET_ROLLUPS, migrations.RunSQL.noop),
        add_time("minuterollup", "low_at", "lowest"),
        add_time("minuterollup", "high_at", "highest"),
        add_time("hourrollup", "low_at", "lowest"),
        add_time("hourrollup", "high_at", "highest"),
    ]
