"""Creates what `plant` describes. Running it again completes what is missing and keeps secrets that still work."""

import secrets
from dataclasses import asdict
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django_tenants.utils import tenant_context

from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
from devices.services import create_device, issue_credential, revoke_credential, save_device, save_device_type, save_metric, save_site
from iiot_site.demo.addresses import PLANT_NAMESPACE, unit_of
from iiot_site.demo.connecting import connect_machines
from iiot_site.demo.demo_file import BrokerEntry, DemoDeviceEntry, DemoFile, DemoLogin, DemoTenantEntry, PlantEntry
from iiot_site.demo.plant import COMMANDS, DEVICE_TYPES, ROLES, RULES, TENANTS, VERSION, DemoDevice, DemoTenant
from rules.models import Rule
from rules.services import save_rule
from tenants.models import Tenant, User
from tenants.services import change_password, create_person, create_tenant, ensure_membership, provision_tenant

PLATFORM_ADMIN = "platform@iiot.example"
INACTIVITY = timedelta(minutes=2)


def is_current(known: DemoFile | None) -> bool:
    """Tell whether the file fits this database, this demo and these addresses."""
    if known is None or known["version"] != VERSION:
        return False
    ids = {slug: str(id_) for slug, id_ in Tenant.objects.filter(status=Tenant.Status.ACTIVE).values_list("slug", "id")}
    known_ids = {slug: entry["id"] for slug, entry in known["tenants"].items()}
    has_same_tenants = all(plant.slug in ids and known_ids.get(plant.slug) == ids[plant.slug] for plant in TENANTS)
    doors = (known["mqtt"], *(known.get(name) for name in ("amqp", "coap", "opcua", "plant")))
    present = (_mqtt_address(), _amqp_address(), _coap_address(), _opcua_address(), _simulated_plant())
    return has_same_tenants and known["http"] == _http_address() and doors == present


def seed(*, known: DemoFile | None, now: datetime) -> DemoFile:
    """Create the demo, or complete it; return what belongs in the file."""
    tenants: dict[str, DemoTenantEntry] = {}
    for plant in TENANTS:
        tenant = _ensure_tenant(plant)
        before = known["tenants"].get(plant.slug) if known else None
        if before is not None and before["id"] != str(tenant.pk):
            before = None
        users = {role: _ensure_person(plant, tenant, role, before) for role in ROLES}
        with tenant_context(tenant), transaction.atomic():
            devices = _ensure_plant(plant, before, now)
            if ports := _simulated_plant():
                connect_machines(plant, ports)
        tenants[plant.slug] = {"id": str(tenant.pk), "users": users, "devices": devices}
    admin_before = known["platform_admin"] if known else None
    _, admin = _ensure_user(PLATFORM_ADMIN, "Platform administrator", admin_before, is_platform_admin=True)
    content: DemoFile = {
        "version": VERSION,
        "http": _http_address(),
        "mqtt": _mqtt_address(),
        "coap": _coap_address(),
        "tenants": tenants,
        "platform_admin": admin,
    }
    if amqp := _amqp_address():
        content["amqp"] = amqp
    if opcua := _opcua_address():
        content["opcua"] = opcua
    if ports := _simulated_plant():
        content["plant"] = ports
    return content


def _http_address() -> str:
    return f"http://localhost:{settings.IIOT_HTTP_PORT}"


def _mqtt_address() -> BrokerEntry:
    return {"host": settings.IIOT_MQTT_PUBLIC_HOST, "port": settings.IIOT_MQTT_PUBLIC_PORT}


def _amqp_address() -> BrokerEntry | None:
    return {"host": settings.IIOT_AMQP_PUBLIC_HOST, "port": settings.IIOT_AMQP_PUBLIC_PORT} if settings.AMQP_URL else None


def _coap_address() -> BrokerEntry:
    return {"host": settings.IIOT_COAP_PUBLIC_HOST, "port": settings.IIOT_COAP_PUBLIC_PORT}


def _opcua_address() -> BrokerEntry | None:
    return {"host": settings.IIOT_OPCUA_PUBLIC_HOST, "port": settings.IIOT_OPCUA_PUBLIC_PORT} if settings.IIOT_OPCUA_PORT else None


def _simulated_plant() -> PlantEntry | None:
    opcua, modbus = settings.IIOT_DEMO_OPCUA_PORT, settings.IIOT_DEMO_MODBUS_PORT
    return {"opcua": opcua, "modbus": modbus} if opcua and modbus else None


# --- Tenants and people


def _ensure_tenant(plant: DemoTenant) -> Tenant:
    tenant = Tenant.objects.filter(slug=plant.slug).first() or create_tenant(slug=plant.slug, name=plant.name)
    return provision_tenant(tenant_id=tenant.pk)  # at once: there may be no worker yet


def _ensure_person(plant: DemoTenant, tenant: Tenant, role: str, before: DemoTenantEntry | None) -> DemoLogin:
    known = before["users"].get(role) if before else None
    user, login = _ensure_user(f"{role}@{plant.slug}.example", f"{role.capitalize()} of {plant.name}", known)
    if not user.memberships.filter(tenant=tenant).exists():
        ensure_membership(user=user, tenant=tenant, role_names=[role])
    return login


def _ensure_user(email: str, full_name: str, known: DemoLogin | None, *, is_platform_admin: bool = False) -> tuple[User, DemoLogin]:
    """Return the user with a password that is known: the one in the file, or a new one."""
    user = User.objects.filter(email=email).first()
    if user is not None and known is not None:
        return user, known
    password = secrets.token_urlsafe(12)
    if user is None:
        user = create_person(email=email, password=password, full_name=full_name, is_platform_admin=is_platform_admin)
    else:
        change_password(user=user, password=password)
    return user, {"email": email, "password": password}


# --- The plant, inside its tenant


def _ensure_plant(plant: DemoTenant, before: DemoTenantEntry | None, now: datetime) -> list[DemoDeviceEntry]:
    sites: dict[str, Site] = {}
    for wanted in plant.sites:
        parent = sites.get(wanted.parent)
        existing = Site.objects.filter(name=wanted.name, parent=parent).first()
        sites[wanted.name] = existing or save_site(site=Site(name=wanted.name, kind=wanted.kind, parent=parent, timezone=wanted.timezone))
    kinds = {device.kind for device in plant.devices}
    types = {kind: _ensure_type(kind) for kind in DEVICE_TYPES if kind in kinds}
    _ensure_rules(types, now)
    known = {entry["key"]: entry for entry in before["devices"]} if before else {}
    return [
        _ensure_device(device, plant.slug, types[device.kind], sites[device.site], known.get(device.key), now) for device in plant.devices
    ]


def _ensure_type(kind: str) -> DeviceType:
    device_type = DeviceType.objects.filter(name=kind).first()
    if device_type is None:
        device_type = DeviceType(name=kind, protocol="mqtt", inactivity_timeout=INACTIVITY)
    if device_type.pk is None or (not device_type.commands and kind in COMMANDS):
        device_type.commands = COMMANDS.get(kind, [])
        device_type = save_device_type(device_type=device_type)
    existing = set(device_type.metrics.values_list("key", flat=True))
    for wanted in DEVICE_TYPES[kind]:
        if wanted.key not in existing:
            save_metric(metric=Metric(device_type=device_type, **asdict(wanted)))
    return device_type


def _ensure_rules(types: dict[str, DeviceType], now: datetime) -> None:
    existing = set(Rule.objects.values_list("name", flat=True))
    for wanted in RULES:
        if wanted.kind not in types or wanted.name in existing:
            continue
        condition = {
            "type": "threshold",
            "metric": wanted.metric,
            "operator": wanted.operator,
            "threshold": wanted.threshold,
            "clear_threshold": wanted.clear_threshold,
        }
        rule = Rule(name=wanted.name, severity=wanted.severity, condition=condition, device_type=types[wanted.kind])
        save_rule(rule=rule, now=now)


def _ensure_device(
    wanted: DemoDevice, slug: str, device_type: DeviceType, site: Site, known: DemoDeviceEntry | None, now: datetime
) -> DemoDeviceEntry:
    """Return the device's entry, with secrets that work: those in the file, or new ones."""
    device = Device.objects.filter(key=wanted.key).first()
    if device is None:
        device = create_device(key=wanted.key, name=wanted.name, device_type=device_type, site=site, protocol=wanted.protocol)
    if device.protocol != wanted.protocol:
        device.protocol = wanted.protocol
        save_device(device=device)
    if known is not None and known["id"] == str(device.uuid):
        return {**known, "name": device.name, "protocol": wanted.protocol, "topic": _topic(wanted, slug), "simulated": wanted.is_simulated}
    for lost in device.credentials.filter(kind=DeviceCredential.Kind.TOKEN, revoked_at=None):
        revoke_credential(credential=lost, now=now)  # nobody knows its secret any more
    mqtt = issue_credential(device=device, kind=DeviceCredential.Kind.MQTT, now=now)
    token = issue_credential(device=device, kind=DeviceCredential.Kind.TOKEN, now=now)
    return {
        "id": str(device.uuid),
        "key": device.key,
        "name": device.name,
        "type": wanted.kind,
        "protocol": wanted.protocol,
        "username": mqtt.username,
        "password": mqtt.secret,
        "token": token.secret,
        "topic": _topic(wanted, slug),
        "simulated": wanted.is_simulated,
    }


def _topic(wanted: DemoDevice, slug: str) -> str:
    """Return where the device publishes: over AMQP a routing key, over CoAP and HTTP a path; or where it is read."""
    names = {
        "amqp": f"{slug}.{wanted.key}.telemetry",
        "coap": "/t",
        "http": "/api/v1/telemetry",
        "opcua": f"nsu={PLANT_NAMESPACE};s={slug}/{wanted.key}",
    }
    if wanted.protocol == "modbus":
        return f"unit {unit_of(f'{slug}/{wanted.key}')}"
    return names.get(wanted.protocol, f"t/{slug}/{wanted.key}/telemetry")
