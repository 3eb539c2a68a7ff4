import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """What happens on deletion is Django's business: no SQL."""

    dependencies = [("devices", "0001_initial"), ("telemetry", "0002_ingest_ledger")]

    operations = [
        migrations.AlterField(
            model_name="latestreading",
            name="device",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="devices.device"
            ),
        ),
        migrations.AlterField(
            model_name="latestreading",
            name="metric",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="devices.metric"
            ),
        ),
    ]
