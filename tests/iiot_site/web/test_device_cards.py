"""The cards of commands and of state on a device's page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.command_services import queue_command, record_response
from devices.models import Command, DesiredState, Device
from devices.state_services import change_desired, record_reported
from iiot_site.web.state_rows import UnreadableError, list_rows, read_document
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser

SPEED = {
    "name": "set_speed",
    "description": "Speed of the drive",
    "is_dangerous": True,
    "parameters": [
        {"name": "rpm", "type": "integer", "required": True, "minimum": 0, "maximum": 3000},
        {"name": "ramp_s", "type": "number"},
        {"name": "is_reverse", "type": "boolean"},
    ],
}
KEY = "0b0e6c8e-0000-4000-8000-000000000000"


@pytest.fixture
def url(acme: Tenant, pump: Device) -> str:
    with tenant_context(acme):
        type(pump.device_type).objects.update(commands=[{"name": "reboot"}, SPEED])
    return f"/t/acme/devices/{pump.uuid}"


@pytest.fixture
def operator(browser: MakeBrowser, acme_operator: User) -> Client:
    return browser(acme_operator)


@pytest.fixture
def viewer(browser: MakeBrowser, acme_viewer: User) -> Client:
    return browser(acme_viewer)


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return re.sub(r"\s+", " ", answer.content.decode())


# --- Commands


def test_an_operator_sends_a_declared_command_once(operator: Client, acme: Tenant, url: str, acme_operator: User) -> None:
    form = text(operator.get(f"{url}/commands/form?command=set_speed"))
    assert 'name="p-rpm"' in form
    assert "0 to 3000" in form
    assert "hx-confirm" in form
    data = {"command": "set_speed", "p-rpm": "1450", "p-ramp_s": "", "p-is_reverse": "false", "lifetime_seconds": "3600", "key": KEY}
    for _ in range(2):  # a double click
        sent = operator.post(f"{url}/commands/send", data)
        assert "is queued" in text(sent)
    assert sent["HX-Trigger"] == "commands-changed"
    with tenant_context(acme):
        command = Command.objects.get()
    assert (command.name, command.payload, command.created_by_name) == ("set_speed", {"rpm": 1450, "is_reverse": False}, str(acme_operator))
    assert (command.expires_at - command.created_at).total_seconds() == 3600


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"p-rpm": "4000"}, "less than or equal to 3000"),
        ({"p-rpm": ""}, "This field is required"),
        ({"p-rpm": "fast"}, "Enter a whole number"),
        ({"p-rpm": "1", "lifetime_seconds": "1"}, "Select a valid choice"),
    ],
)
def test_a_wrong_parameter_is_named_beside_its_field(operator: Client, acme: Tenant, url: str, data: dict[str, str], words: str) -> None:
    answer = text(operator.post(f"{url}/commands/send", {"command": "set_speed", "lifetime_seconds": "3600", "key": KEY} | data))
    assert words in answer
    assert "is-invalid" in answer
    with tenant_context(acme):
        assert not Command.objects.exists()


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("", "is queued"),
        ('{"a": 1}', "is queued"),
        ('{\n"a" 1}', "Line 2, column 5"),
        ("[1]", "an object"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a": 1e999}', "finite"),
    ],
)
def test_a_type_that_declares_nothing_takes_any_name_and_json(
    operator: Client, acme: Tenant, pump: Device, payload: str, words: str
) -> None:
    url = f"/t/acme/devices/{pump.uuid}/commands/send"
    answer = text(operator.post(url, {"name": "reboot", "payload": payload, "lifetime_seconds": "300", "key": KEY}))
    assert words in answer


def test_the_list_says_what_became_of_each_command(operator: Client, acme: Tenant, pump: Device, url: str) -> None:
    assert "No command yet" in text(operator.get(url))
    now = timezone.now()
    with tenant_context(acme):
        for age in range(6):
            queue_command(device=pump, name="reboot", payload=None, now=now - timedelta(seconds=age), author="Olga")
        done, failed, *_ = Command.objects.all()
        record_response(device_key=pump.key, command_id=done.pk, is_done=True, data={"rpm": 1448}, now=now)
        record_response(device_key=pump.key, command_id=failed.pk, is_done=False, data=None, error="Interlock open", now=now)
    shown = text(operator.get(f"{url}/commands"))
    for words in ("Acknowledged", "&quot;rpm&quot;: 1448", "Failed", "Interlock open", "Queued", "Olga", "Show older ones"):
        assert words in shown
    assert text(operator.get(f"{url}/commands?all=1")).count('<strong class="mono">reboot') == 6


def test_a_disabled_device_takes_no_command(operator: Client, acme: Tenant, pump: Device, url: str) -> None:
    with tenant_context(acme):
        Device.objects.update(is_enabled=False)
    assert "it gets no commands" in text(operator.get(url))
    answer = operator.post(f"{url}/commands/send", {"command": "reboot", "lifetime_seconds": "300", "key": KEY})
    assert "it gets no commands" in text(answer)


# --- State


def test_the_difference_stands_first(operator: Client, acme: Tenant, pump: Device, url: str) -> None:
    assert "Nothing desired, nothing reported" in text(operator.get(url))
    with tenant_context(acme):
        change_desired(device=pump, patch={"net": {"dns": "10.0.0.1"}, "interval_s": 10}, now=timezone.now(), author="Olga")
        record_reported(device=pump, patch={"interval_s": 10.0, "fw": "2.1"}, now=timezone.now())
    shown = text(operator.get(f"{url}/state"))
    assert "1 not taken over" in shown
    assert shown.index("net.dns") < shown.index("interval_s")
    assert "by Olga" in shown


def test_an_operator_edits_what_is_desired(operator: Client, acme: Tenant, pump: Device, url: str, acme_operator: User) -> None:
    with tenant_context(acme):
        change_desired(device=pump, patch={"interval_s": 10, "mode": "eco"}, now=timezone.now())
    assert "&quot;mode&quot;: &quot;eco&quot;" in text(operator.get(f"{url}/state/form"))
    saved = operator.post(f"{url}/state/save", {"document": '{"interval_s": 20}', "version": "1"})
    assert text(saved) == ""
    assert saved["HX-Trigger"] == "state-changed"
    with tenant_context(acme):
        state = DesiredState.objects.get()
    assert (state.desired, state.version, state.changed_by_name) == ({"interval_s": 20}, 2, str(acme_operator))
    late = text(operator.post(f"{url}/state/save", {"document": '{"interval_s": 30}', "version": "1"}))
    assert "Somebody else changed" in late
    assert "&quot;interval_s&quot;: 30" in late


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('{"a": 1,}', "Line 1, column"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "a is not a finite number"),
        ('{"a": "\\u0000"}', "NUL"),
        ("[]", "an object"),
        ("7", "an object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_document_that_cannot_be_kept_comes_back_with_the_reason(operator: Client, url: str, document: str, words: str) -> None:
    answer = text(operator.post(f"{url}/state/save", {"document": document, "version": "0"}))
    assert words in answer
    assert 'aria-invalid="true"' in answer


def test_a_viewer_sees_both_and_can_change_neither(viewer: Client, url: str) -> None:
    page = text(viewer.get(url))
    assert "No command yet" in page
    assert "Nothing desired" in page
    assert 'id="command-editor"' not in page
    assert 'id="state-editor"' not in page
    for path in ("commands/send", "state/save"):
        assert viewer.post(f"{url}/{path}").status_code == 403
    for path in ("commands/form", "state/form"):
        assert viewer.get(f"{url}/{path}").status_code == 403


def test_people_of_another_tenant_find_nothing(browser: MakeBrowser, globex_admin: User, pump: Device, url: str) -> None:
    outsider = browser(globex_admin)
    for path in ("commands", "commands/form", "state", "state/form"):
        assert outsider.get(f"{url}/{path}").status_code == 404
        assert outsider.get(f"/t/globex/devices/{pump.uuid}/{path}").status_code == 404
    for path in ("commands/send", "state/save"):
        assert outsider.post(f"{url}/{path}").status_code == 404


def test_rows_tell_numbers_from_booleans_and_lists_apart() -> None:
    rows = list_rows({"a": 1, "b": [1, 2], "c": {}}, {"a": True, "b": [1, 2.0], "d": None})
    assert [(row.name, row.standing) for row in rows] == [("a", "waiting"), ("c", "waiting"), ("b", "same"), ("d", "device_only")]


def test_an_empty_text_is_an_empty_document() -> None:
    assert read_document("") == {}
    with pytest.raises(UnreadableError, match="too many digits"):
        read_document('{"a": ' + "9" * 5_000 + "}")


def test_a_device_that_is_only_read_has_no_form_for_its_state_but_the_reason(
    operator: Client, acme: Tenant, pump: Device, url: str
) -> None:
    with tenant_context(acme):
        Device.objects.filter(pk=pump.pk).update(protocol="modbus")
    page = text(operator.get(url))
    assert "nothing carries a desired state" in page
    assert f"{url}/state/form" not in page
    form = {"document": '{"rpm": 900}', "version": "0"}
    assert "nothing carries a desired state" in text(operator.post(f"{url}/state/save", form))
