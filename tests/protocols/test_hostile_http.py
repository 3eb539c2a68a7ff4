"""Three hundred hostile requests: no answer of 5xx, and every one is in the ledger."""

import random

import pytest
from django.test import Client
from django_tenants.utils import tenant_context

from devices.services import issue_credential
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import IngestLedger, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.hostile import hostile_payloads

COUNT = 300
CONTENT_TYPES = (
    "application/json",
    "application/json",
    "application/cbor",
    "application/senml+json",
    "application/senml+cbor",
    "text/plain",
)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_hostile_request_is_answered_and_in_the_ledger(acme: Tenant, make_device: MakeDevice, seed: int) -> None:
    with tenant_context(acme):
        device = make_device("pump-7")
        token = issue_credential(device=device, kind="token", now=device.created_at).secret
    chance, client = random.Random(seed), Client(raise_request_exception=False)
    statuses = set()
    for payload in hostile_payloads(COUNT, seed=seed):
        answer = client.post(
            "/api/v1/telemetry" + chance.choice(("", "?device=pump-7", "?device=%00", "?device=pump-8")),
            payload,
            content_type=chance.choice(CONTENT_TYPES),
            HTTP_AUTHORIZATION=f"Bearer {token}",
        )
        statuses.add(answer.status_code)
        assert answer.status_code < 500, payload[:200]
    assert statuses >= {200, 400}
    with tenant_context(acme):
        assert sum(entry.messages for entry in IngestLedger.objects.all()) >= COUNT
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        assert "internal_error" not in {row.reason for row in RejectedMessage.objects.all()}
