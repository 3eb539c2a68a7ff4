"""Tasks run in the tenant that sent them and survive being sent twice."""

from datetime import timedelta
from typing import Any

import pytest
from django_tenants.utils import tenant_context

from alerting.models import Incident
from iiot_site.lib.schemas import current_schema
from rules.models import RuleState
from rules.selectors import load_watched_series
from rules.tasks import evaluate_series_task, sweep_rules_task
from rules.types import SeriesSince
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.rules.conftest import NOW, MakeReading, MakeRule, store


def wire(since: SeriesSince) -> list[Any]:
    return [[*pair, ts.isoformat()] for pair, ts in since.items()]


def test_a_task_sent_twice_opens_one_incident_in_its_own_tenant(
    acme: Tenant, globex: Tenant, eager_celery: None, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(globex):
        make_device()
        make_rule()
    with tenant_context(acme):
        pump = make_device()
        make_rule()
        since = store([reading(pump, 99)])
        for _ in range(2):
            evaluate_series_task.delay(wire(since))
        assert Incident.objects.count() == 1
    with tenant_context(globex):
        assert not Incident.objects.exists()


def test_a_task_leaves_what_is_too_much_for_it_to_the_next_one(
    in_acme: Tenant,
    eager_celery: None,
    make_device: MakeDevice,
    make_rule: MakeRule,
    reading: MakeReading,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rules.services.CHUNK_READINGS", 10)
    pump = make_device()
    make_rule()
    evaluate_series_task.delay(wire(store([reading(pump, 20, second) for second in range(35)])))
    assert RuleState.objects.get().last_ts == NOW + timedelta(seconds=34)


def test_the_sweep_goes_to_every_active_tenant(acme: Tenant, globex: Tenant, eager_celery: None, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[str] = []
    monkeypatch.setattr("rules.tasks.sweep_rules", lambda now: swept.append(current_schema()))
    globex.status = Tenant.Status.SUSPENDED
    globex.save()
    sweep_rules_task.delay()
    assert swept == [acme.schema_name]


def test_only_series_of_enabled_rules_are_watched(in_acme: Tenant, make_device: MakeDevice, make_rule: MakeRule) -> None:
    pump = make_device(metrics=("temperature", "pressure"))
    rule = make_rule(device_type=pump.device_type)

    def watches(metric: str) -> bool:
        return load_watched_series().watches(pump.pk, pump.device_type_id, pump.site_id, metric)

    assert watches("temperature")
    assert not watches("pressure")
    rule.is_enabled = False
    rule.save()
    assert not watches("temperature")
