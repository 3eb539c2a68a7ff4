"""Several workers at once, on the same readings and on rules that change meanwhile."""

from collections.abc import Callable
from functools import partial

import pytest
from django_tenants.utils import tenant_context

from alerting.models import Alert, Incident
from rules.models import RuleState
from rules.services import raise_alerts, set_rule_enabled
from tenants.models import Tenant
from tests.concurrency import run_at_once
from tests.conftest import MakeDevice
from tests.rules.conftest import NOW, MakeReading, MakeRule, store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_push")]


@pytest.fixture
def no_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerting.live.push_frames", lambda schema, frames: None)


def test_two_workers_with_the_same_readings_open_one_incident(
    transactional_db: None, acme: Tenant, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        pumps = [make_device(f"pump-{number}", name=f"Pump {number}") for number in range(10)]
        make_rule()
        since = store([reading(pump, value, at) for pump in pumps for at, value in enumerate((20, 99, 99))])
        reverse = dict(reversed(since.items()))
    jobs = [partial(raise_alerts, since=order, now=NOW) for order in (since, reverse) * 3]
    assert not any(run_at_once(acme, jobs))
    with tenant_context(acme):
        assert Incident.objects.count() == Alert.objects.count() == len(pumps)
        assert set(Alert.objects.values_list("count", flat=True)) == {1}
        assert Incident.objects.values("number").distinct().count() == len(pumps)
        assert RuleState.objects.filter(is_firing=True).count() == len(pumps)


def test_workers_that_overtake_each_other_miss_no_excursion(
    transactional_db: None, acme: Tenant, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        pump = make_device()
        make_rule()
        batches = [store([reading(pump, 99 if second % 2 else 20, second)]) for second in range(8)]
        raise_alerts(since=batches[0], now=NOW)
    assert not any(run_at_once(acme, [partial(raise_alerts, since=batch, now=NOW) for batch in batches[:0:-1]]))
    with tenant_context(acme):
        state = RuleState.objects.get()
        assert (state.last_value, state.is_firing) == (99, True)
        assert Incident.objects.exclude(state="resolved").count() == 1
        assert Alert.objects.filter(resolved_at=None).count() == 1
        assert Alert.objects.count() == 4  # every excursion, in whatever order the workers came


def test_no_alert_survives_a_rule_that_is_disabled_meanwhile(
    transactional_db: None, acme: Tenant, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading
) -> None:
    with tenant_context(acme):
        pump = make_device()
        rule = make_rule()
        since = store([reading(pump, 99)])
    jobs: list[Callable[[], object]] = [lambda: raise_alerts(since=since, now=NOW)] * 3
    assert not any(run_at_once(acme, [*jobs, lambda: set_rule_enabled(rule_id=rule.pk, is_enabled=False, now=NOW)]))
    with tenant_context(acme):
        assert not Alert.objects.filter(resolved_at=None).exists()
        assert not RuleState.objects.exists()
