"""Evaluation of readings on arrival, and the sweep for what got lost on the way and for what a new rule finds."""

from datetime import datetime
from typing import Any

from celery import shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from rules.services import raise_alerts, sweep_rules
from tenants.fan_out import start_for_each_tenant

# A deadlock broken by PostgreSQL, or PostgreSQL away: nothing was committed, so the same work may be done again.
_TRANSIENT = (OperationalError, InterfaceError)


@shared_task(autoretry_for=_TRANSIENT, retry_backoff=True, retry_backoff_max=30, max_retries=10)
def evaluate_series_task(series: list[list[Any]]) -> None:
    """Evaluate what is new in `[device id, metric id, ISO 8601 time of the oldest reading that came]` of the task's tenant.

    The readings themselves are in the database: a task that is lost or overtaken by the next one loses none of them.
    """
    rest = raise_alerts(since={(device, metric): datetime.fromisoformat(ts) for device, metric, ts in series}, now=timezone.now())
    if rest:
        evaluate_series_task.apply_async(([[*pair, ts.isoformat()] for pair, ts in rest.items()],))


@shared_task
def sweep_rules_task() -> None:
    """Hand the sweep to one task per tenant."""
    start_for_each_tenant(sweep_tenant_rules_task, expires=30)


@shared_task(autoretry_for=_TRANSIENT, retry_backoff=True, retry_backoff_max=30, max_retries=10)
def sweep_tenant_rules_task() -> None:
    """Catch up with readings that no rule has evaluated, and end alerts that nobody watches any more."""
    sweep_rules(now=timezone.now())
