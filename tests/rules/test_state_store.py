"""Which states a worker locks."""

from itertools import product

from devices.models import Metric
from rules.models import RuleState
from rules.state_store import lock_states
from rules.types import StateKey
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.rules.conftest import MakeRule


def test_only_the_states_asked_for_are_locked(in_acme: Tenant, make_device: MakeDevice, make_rule: MakeRule) -> None:
    pumps = [make_device("pump-1"), make_device("pump-2")]
    metric_id = Metric.objects.values_list("pk", flat=True)[0]
    rules = [make_rule(name="Hot"), make_rule(name="Hotter")]
    keys = [StateKey(rule.pk, pump.pk, metric_id) for rule, pump in product(rules, pumps)]
    assert lock_states(keys).keys() == set(keys)  # all there are, made now
    wanted = {keys[0], keys[3]}
    assert lock_states(wanted).keys() == wanted  # other workers have the others
    assert RuleState.objects.count() == 4
