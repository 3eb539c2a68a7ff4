from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from django_tenants.utils import tenant_context

from iiot_site.celery import app
from telemetry.ledger import HOUR_SLOT
from telemetry.models import IngestLedger, RejectedMessage, RollupProgress
from telemetry.partitions import ensure_partitions
from telemetry.partitions_math import days_ahead
from telemetry.services import record_ingest, record_rejections
from telemetry.tasks import create_partitions_task, roll_up_task, thin_ledger_task, trim_rejections_task
from telemetry.types import IngestCount
from tenants.models import Tenant
from tests.telemetry.test_services import rejection


@pytest.mark.usefixtures("eager_celery")
def test_every_tenant_gets_its_partitions_ahead(acme: Tenant, globex: Tenant) -> None:
    days = days_ahead(timezone.now())
    create_partitions_task.delay()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            assert ensure_partitions(days=days[1:]) == []  # the first may be over by now


@pytest.mark.usefixtures("eager_celery")
def test_every_tenant_keeps_only_its_newest_rejections(acme: Tenant, globex: Tenant, settings: object) -> None:
    for tenant in (acme, globex):
        with tenant_context(tenant):
            record_rejections(rejections=[rejection(n) for n in range(5)])
    settings.IIOT_REJECTED_MESSAGES_KEPT_COUNT = 2  # type: ignore[attr-defined]
    trim_rejections_task.delay()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            assert RejectedMessage.objects.count() == 2


@pytest.mark.usefixtures("eager_celery")
def test_every_tenant_is_rolled_up(acme: Tenant, globex: Tenant) -> None:
    roll_up_task.delay()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            assert timezone.now() - RollupProgress.objects.get().folded_until < timedelta(minutes=10)


def test_the_schedule_names_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert (
        {"telemetry.tasks.create_partitions_task", "telemetry.tasks.trim_rejections_task", "telemetry.tasks.roll_up_task"}
        <= scheduled
        <= set(app.tasks)
    )


@pytest.mark.usefixtures("eager_celery")
def test_every_tenants_ledger_gets_thinner(acme: Tenant, globex: Tenant) -> None:
    for tenant in (acme, globex):
        with tenant_context(tenant):
            record_ingest(count=IngestCount("mqtt", 1, 1, 0, {}, 1, 0, 0), now=timezone.now() - timedelta(days=40))
    thin_ledger_task.delay()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            assert IngestLedger.objects.get().slot == HOUR_SLOT
