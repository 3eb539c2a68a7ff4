"""The Celery application. Tasks carry the tenant's schema in a header (tenant-schemas-celery)."""

import os

from tenant_schemas_celery.app import CeleryApp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")

app = CeleryApp("iiot_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
