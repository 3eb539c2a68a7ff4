"""The Celery application. Tasks carry the tenant's schema in a header (tenant-schemas-celery)."""

import os
from typing import Any

from celery.signals import beat_init, worker_ready
from tenant_schemas_celery.app import CeleryApp

from iiot_site.lib.readiness import report_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")

app = CeleryApp("iiot_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@beat_init.connect
def report_to_supervisor(**_: Any) -> None:
    """Say that the worker consumes from its queues, or that beat ticks."""
    report_ready()
