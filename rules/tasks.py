"""Evaluation of readings on arrival, and the sweep for what got lost on the way and for what a new rule finds."""

from datetime import datetime
from typing import Any

from celery import shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django_tenants.utils import tenant_context

from rules.services import raise_alerts, sweep_rules
from rules.types import EvaluatedReading
from tenants.selectors import list_active_tenants

# A deadlock broken by PostgreSQL, or PostgreSQL away: nothing was committed, so the same work may be done again.
_TRANSIENT = (OperationalError, InterfaceError)


@shared_task(autoretry_for=_TRANSIENT, retry_backoff=True, retry_backoff_max=30, max_retries=10)
def evaluate_readings_task(readings: list[list[Any]]) -> None:
    """Evaluate `[device id, metric id, ISO 8601 time, value, quality]` rows in the task's tenant."""
    raise_alerts(readings=[_read_row(*row) for row in readings], now=timezone.now())


@shared_task
def sweep_rules_task() -> None:
    """Hand the sweep to one task per tenant."""
    for tenant in list_active_tenants():
        with tenant_context(tenant):
            sweep_tenant_rules_task.apply_async(expires=30)


@shared_task(autoretry_for=_TRANSIENT, retry_backoff=True, retry_backoff_max=30, max_retries=10)
def sweep_tenant_rules_task() -> None:
    """Catch up with latest readings that no rule has evaluated, and end alerts that nobody watches any more."""
    sweep_rules(now=timezone.now())


def _read_row(device_id: int, metric_id: int, ts: str, value: float, quality: int) -> EvaluatedReading:
    return EvaluatedReading(device_id, metric_id, datetime.fromisoformat(ts), value, quality)
