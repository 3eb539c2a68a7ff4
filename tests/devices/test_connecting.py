"""What a person pastes to use a device's new credential."""

import shlex

import pytest
from django.conf import LazySettings
from django.utils import timezone

from devices.connecting import list_examples
from devices.services import issue_credential
from tenants.models import Tenant
from tests.conftest import MakeDevice


@pytest.mark.parametrize(("amqp_url", "labels"), [("", ["mosquitto_pub"]), ("amqp://rabbit", ["mosquitto_pub", "amqp-publish"])])
def test_a_password_comes_with_a_command_for_each_broker_there_is(
    in_acme: Tenant, make_device: MakeDevice, settings: LazySettings, amqp_url: str, labels: list[str]
) -> None:
    settings.AMQP_URL = amqp_url
    issued = issue_credential(device=make_device("pump-7"), kind="mqtt", now=timezone.now())
    examples = list_examples(device=make_device("pump-8"), issued=issued, base_url="https://iiot.example")
    assert [example.label for example in examples] == labels
    words = shlex.split(examples[-1].text)
    if amqp_url:
        assert f"amqp://acme%2Fpump-7:{issued.secret}@{settings.IIOT_AMQP_PUBLIC_HOST}:{settings.IIOT_AMQP_PUBLIC_PORT}/%2F" in words
        assert "acme.pump-8.telemetry" in words
    else:
        assert "t/acme/pump-8/telemetry" in words
