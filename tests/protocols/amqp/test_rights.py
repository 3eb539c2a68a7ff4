"""What the broker is told about logins and rights: a device's own exchange, keys and queue, and nothing else."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential
from devices.services import issue_credential, revoke_credential
from protocols.amqp.access_middleware import ANSWERS
from protocols.amqp.rights import may_enter, may_use_resource, may_use_topic
from tenants.models import Tenant
from tenants.services import set_suspended
from tests.conftest import MakeDevice

SECRET = "s" * 40


def ask(decide: Callable[[dict[str, str]], bool], username: str = "acme/pump-7", vhost: str = "/", **question: str) -> bool:
    return decide({"username": username, "vhost": vhost, **question})


def test_a_device_enters_the_one_virtual_host() -> None:
    assert ask(may_enter)
    assert not ask(may_enter, vhost="other")
    for username in ("iiot", "", "acme", "/", "acme/", "/pump-7", "acme/pump-7/x"):
        assert not ask(may_enter, username)


@pytest.mark.parametrize(
    ("resource", "name", "permissions"),
    [
        ("exchange", "iiot.telemetry", {"write"}),
        ("exchange", "iiot.commands", set()),
        ("queue", "iiot.commands.acme.pump-7", {"configure", "read"}),
        ("exchange", "amq.default", set()),
        ("exchange", "iiot.dead", set()),
        ("exchange", "amq.topic", set()),
        ("exchange", "iiot.commands.acme.pump-7", set()),
        ("queue", "iiot.telemetry", set()),
        ("queue", "iiot.dead", set()),
        ("queue", "iiot.commands.acme.pump-70", set()),
        ("queue", "iiot.commands.acme.fan-1", set()),
        ("queue", "iiot.commands.globex.pump-7", set()),
        ("queue", "", set()),
        ("topic", "iiot.telemetry", set()),
    ],
)
def test_what_a_device_may_do_with_what(resource: str, name: str, permissions: set[str]) -> None:
    for permission in ("configure", "write", "read", ""):
        assert ask(may_use_resource, resource=resource, name=name, permission=permission) is (permission in permissions)
        assert not ask(may_use_resource, "acme", resource=resource, name=name, permission=permission)
        assert not ask(may_use_resource, vhost="other", resource=resource, name=name, permission=permission)


@pytest.mark.parametrize(
    ("exchange", "permission", "key", "is_allowed"),
    [
        ("iiot.telemetry", "write", "acme.pump-7.telemetry", True),
        ("iiot.telemetry", "write", "acme.pump-7.commands.response", True),
        ("iiot.telemetry", "write", "acme.pump-7.state.reported", True),
        ("iiot.telemetry", "write", "acme.pump-7.state.get", True),
        ("iiot.telemetry", "write", "acme.pump-7.state.desired", False),
        ("iiot.telemetry", "write", "acme.fan-1.state.reported", False),
        ("iiot.telemetry", "write", "globex.pump-7.state.get", False),
        ("iiot.commands", "read", "acme.pump-7.state.desired", False),
        ("iiot.commands", "read", "acme.fan-1.state.desired", False),
        ("iiot.commands", "write", "acme.pump-7.state.desired", False),
        ("iiot.telemetry", "write", "acme.fan-1.commands.response", False),
        ("iiot.telemetry", "write", "globex.pump-7.commands.response", False),
        ("iiot.commands", "write", "acme.pump-7.commands.response", False),
        ("iiot.telemetry", "write", "acme.fan-1.telemetry", False),
        ("iiot.telemetry", "write", "globex.pump-7.telemetry", False),
        ("iiot.telemetry", "write", "acme.pump-7.commands", False),
        ("iiot.telemetry", "write", "*.*.telemetry", False),
        ("iiot.telemetry", "read", "acme.pump-7.telemetry", False),
        ("iiot.commands", "read", "acme.pump-7.commands", False),
        ("iiot.commands", "read", "#", False),
        ("iiot.commands", "read", "acme.*.commands", False),
        ("iiot.commands", "read", "acme.fan-1.commands", False),
        ("iiot.commands", "write", "acme.pump-7.commands", False),
        ("amq.topic", "write", "acme.pump-7.telemetry", False),
    ],
)
def test_a_device_publishes_under_its_own_keys_only_and_binds_nothing(exchange: str, permission: str, key: str, is_allowed: bool) -> None:
    assert ask(may_use_topic, name=exchange, permission=permission, routing_key=key) is is_allowed
    assert not ask(may_use_topic, "iiot", name=exchange, permission=permission, routing_key=key)


# --- Over HTTP


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device("pump-7")


@pytest.fixture
def password(acme: Tenant, pump: Device) -> str:
    with tenant_context(acme):
        return issue_credential(device=pump, kind=DeviceCredential.Kind.MQTT, now=timezone.now()).secret


@pytest.fixture
def question(settings: object, client: Client) -> Callable[..., str]:
    """Return `question(subject, secret=…, **form)`: the answer's text, or its status where it is none."""
    settings.IIOT_BROKER_SECRET = SECRET  # type: ignore[attr-defined]  # pytest-django's

    def ask_over_http(subject: str, *, secret: str = SECRET, **form: str) -> str:
        answer = client.post(f"/internal/broker/{secret}/{subject}", form)
        return answer.content.decode() if answer.status_code == 200 else str(answer.status_code)

    return ask_over_http


def test_a_login_is_that_of_the_device_and_ends_with_its_credential(
    question: Callable[..., str], acme: Tenant, pump: Device, password: str
) -> None:
    def log_in(username: str = "acme/pump-7", secret: str = password) -> str:
        return question("user", username=username, password=secret)

    assert log_in() == "allow"
    for username, secret in (
        ("acme/pump-7", "wrong"),
        ("acme/pump-7", ""),
        ("acme/pump-8", password),
        ("globex/pump-7", password),
        ("nobody/pump-7", password),
        ("acme/pump-7\0", password),
        ("acme", password),
        ("", ""),
    ):
        assert log_in(username, secret) == "deny"
    set_suspended(tenant=acme, is_suspended=True)
    assert log_in() == "deny"
    set_suspended(tenant=acme, is_suspended=False)
    assert log_in() == "allow"
    with tenant_context(acme):
        revoke_credential(credential=pump.credentials.get(), now=timezone.now())
    assert log_in() == "deny"


def test_rights_are_answered_over_http(question: Callable[..., str], db: None) -> None:
    form = {"username": "acme/pump-7", "vhost": "/"}
    assert question("vhost", **form) == "allow"
    assert question("resource", **form, resource="exchange", name="iiot.telemetry", permission="write") == "allow"
    assert question("resource", **form, resource="queue", name="iiot.telemetry", permission="read") == "deny"
    topic = {**form, "resource": "topic", "name": "iiot.telemetry", "permission": "write"}
    assert question("topic", **topic, routing_key="acme.pump-7.telemetry") == "allow"
    assert question("topic", **topic, routing_key="globex.pump-7.telemetry") == "deny"


@pytest.mark.parametrize("subject", [*ANSWERS, "other", ""])
def test_who_does_not_know_the_secret_finds_nothing(question: Callable[..., str], client: Client, db: None, subject: str) -> None:
    assert question(subject, secret="x" * 40, username="acme/pump-7", vhost="/") == "404"
    assert question(subject, secret="", username="acme/pump-7", vhost="/") == "404"
    assert client.get(f"/internal/broker/{SECRET}/{subject}", {"username": "acme/pump-7", "vhost": "/"}).status_code == 404


def test_without_a_secret_nothing_is_answered(question: Callable[..., str], settings: object, db: None) -> None:
    settings.IIOT_BROKER_SECRET = ""  # type: ignore[attr-defined]  # pytest-django's
    assert question("vhost", secret="", username="acme/pump-7", vhost="/") == "404"


def test_a_devices_second_name_has_the_rights_of_its_first() -> None:
    question = {"username": "acme/pump-7~2", "vhost": "/", "name": "iiot.telemetry", "resource": "topic", "permission": "write"}
    assert may_use_topic({**question, "routing_key": "acme.pump-7.telemetry"})
    assert not may_use_topic({**question, "routing_key": "acme.pump-7~2.telemetry"})
    assert not may_use_topic({**question, "routing_key": "acme.fan.telemetry"})
