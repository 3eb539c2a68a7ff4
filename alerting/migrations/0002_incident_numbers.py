"""Incident numbers come from a sequence: unique without a lock that would make concurrent openings wait."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("alerting", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE alerting_incident_number OWNED BY alerting_incident.number",
            "DROP SEQUENCE IF EXISTS alerting_incident_number",
        )
    ]
