"""What to paste so that a device's new credential is used at once."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from django.conf import settings

from devices.credential_formats import slug_of_schema
from devices.models import Device, DeviceCredential, Metric
from devices.types import IssuedCredential
from iiot_site.lib.schemas import current_schema

TELEMETRY_PATH = "/api/v1/telemetry"
DEFAULT_METRIC = "temperature"


@dataclass(frozen=True, slots=True)
class ConnectionExample:
    """A command or a file's content, with what it is."""

    label: str
    text: str


def choose_example_metric(device: Device) -> str:
    """Return the key of the oldest metric that is a number: those that were meant come before those that were misspelt."""
    numbers = device.device_type.metrics.filter(data_type=Metric.DataType.NUMBER).order_by("id")
    return numbers.values_list("key", flat=True).first() or DEFAULT_METRIC


def list_examples(*, device: Device, issued: IssuedCredential, base_url: str) -> list[ConnectionExample]:
    """Return what uses the credential, its secret included; nothing for a certificate, whose private key the device has.

    `base_url` is where the platform is reached, without a slash at the end.
    """
    body = json.dumps({choose_example_metric(device): 21.5})
    if issued.kind == DeviceCredential.Kind.MQTT:
        examples = [ConnectionExample("mosquitto_pub", _mosquitto_command(device, issued, body))]
        return examples + ([ConnectionExample("amqp-publish", _amqp_command(device, issued, body))] if settings.AMQP_URL else [])
    if issued.kind == DeviceCredential.Kind.TOKEN:
        return [ConnectionExample("curl", _curl_command(issued, body, base_url))]
    if issued.kind == DeviceCredential.Kind.OSCORE:
        return [ConnectionExample("libcoap's file for coap-client -E", _libcoap_file(issued.oscore))]
    return []


def _mosquitto_command(device: Device, issued: IssuedCredential, body: str) -> str:
    topic = f"t/{slug_of_schema(current_schema())}/{device.key}/telemetry"
    broker = ["-h", settings.IIOT_MQTT_PUBLIC_HOST, "-p", str(settings.IIOT_MQTT_PUBLIC_PORT)]
    return shlex.join(["mosquitto_pub", *broker, "-q", "1", "-u", issued.username, "-P", issued.secret, "-t", topic, "-m", body])


def _amqp_command(device: Device, issued: IssuedCredential, body: str) -> str:
    login = f"{quote(issued.username, safe='')}:{quote(issued.secret, safe='')}"
    url = f"amqp://{login}@{settings.IIOT_AMQP_PUBLIC_HOST}:{settings.IIOT_AMQP_PUBLIC_PORT}/%2F"
    key = f"{slug_of_schema(current_schema())}.{device.key}.telemetry"
    return shlex.join(["amqp-publish", "-u", url, "-e", "iiot.telemetry", "-r", key, "-b", body])


def _curl_command(issued: IssuedCredential, body: str, base_url: str) -> str:
    headers = ["-H", f"Authorization: Bearer {issued.secret}", "-H", "Content-Type: application/json"]
    return shlex.join(["curl", f"{base_url}{TELEMETRY_PATH}", *headers, "-d", body])


def _libcoap_file(keys: Mapping[str, str]) -> str:
    """Return the parameters in the form of coap-oscore-conf(5)."""
    lines = [f'{name},hex,"{keys[name]}"' for name in ("master_secret", "master_salt")]
    lines += [f'sender_id,hex,"{keys["client_id"]}"', f'recipient_id,hex,"{keys["server_id"]}"']
    return "\n".join(lines)
