"""The plant: where things stand, what they are, what they measure and how they prove who they are."""

import uuid
import zoneinfo
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from devices.command_schema import find_fault
from devices.keys import METRIC_KEY_PATTERN
from devices.metric_numbers import LAST_NUMBER, count_free_numbers
from iiot_site.lib.times import LAST_MOMENT

LONGEST_DURATION = timedelta(days=3660)

validate_key = RegexValidator(r"^[A-Za-z0-9_-]{1,64}\Z", "Use 1 to 64 letters, digits, underscores and hyphens.")
validate_metric_key = RegexValidator(
    rf"^{METRIC_KEY_PATTERN}\Z", "Start with a letter or underscore; then letters, digits and _ . : / - or blank, 64 at most."
)


def validate_timezone(value: str) -> None:
    """Refuse what is no IANA zone of this machine's time zone database."""
    if value not in zoneinfo.available_timezones():
        raise ValidationError("Use an IANA time zone such as Europe/Berlin.")


def validate_tags(value: object) -> None:
    """Accept a list of at most 50 short texts."""
    if not isinstance(value, list) or len(value) > 50 or not all(isinstance(tag, str) and 0 < len(tag) <= 60 for tag in value):
        raise ValidationError("Use a list of at most 50 texts of 1 to 60 characters.")


def validate_commands(value: object) -> None:
    """Refuse what does not declare commands as `devices.command_schema` says."""
    if fault := find_fault(value):
        raise ValidationError(fault)


def validate_duration(value: timedelta) -> None:
    """Refuse nothing and less, and what is so long that added to a time it leaves the calendar."""
    if not timedelta(0) < value <= LONGEST_DURATION:
        raise ValidationError(f"Use a duration above zero, of {LONGEST_DURATION.days} days at most.")


def leads_to(nodes: "models.QuerySet[Any]", parent: str, *, start: object, target: object) -> bool:
    """Tell whether walking up from `start` along `parent` reaches `target`."""
    walked: set[object] = set()
    current = start
    while current is not None and current not in walked:
        if current == target:
            return True
        walked.add(current)
        current = nodes.filter(pk=current).values_list(parent, flat=True).first()
    return False


class Site(models.Model):
    """A node of the plant tree (ISA-95: enterprise, site, area, line, cell)."""

    class Kind(models.TextChoices):
        ENTERPRISE = "enterprise", "Enterprise"
        SITE = "site", "Site"
        AREA = "area", "Area"
        LINE = "line", "Line"
        CELL = "cell", "Cell"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.SITE)
    timezone = models.CharField(max_length=64, default="UTC", validators=[validate_timezone], help_text="IANA name, for calendar days.")

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["parent", "name"], name="site_name_once_per_parent", nulls_distinct=False)]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if leads_to(Site.objects.all(), "parent_id", start=self.parent_id, target=self.pk):
            raise ValidationError({"parent": "A site cannot stand inside itself. Choose a parent outside of it."}, code="site_cycle")


class Protocol(models.TextChoices):
    """How a device reaches the platform."""

    AUTO = "auto", "Detect from the first valid message"
    MQTT = "mqtt", "MQTT"
    HTTP = "http", "HTTP"
    AMQP = "amqp", "AMQP"
    COAP = "coap", "CoAP"
    OPCUA = "opcua", "OPC UA"
    MODBUS = "modbus", "Modbus TCP"


class Codec(models.TextChoices):
    """The format of a device's messages."""

    AUTO = "auto", "Detect from each message"
    JSON = "json", "JSON"
    CBOR = "cbor", "CBOR"
    SENML = "senml", "SenML (JSON or CBOR)"
    LINE = "line", "InfluxDB line protocol"
    PLAIN = "plain", "One plain value"
    SPARKPLUG = "sparkplug", "Sparkplug B"


class OfflineSeverity(models.TextChoices):
    """How urgent it is when a device goes offline."""

    NONE = "none", "No incident"
    INFO = "info", "Info"
    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"
    CRITICAL = "critical", "Critical"


class DeviceType(models.Model):
    """What devices of one kind have in common."""

    class LinePrecision(models.TextChoices):
        NANOSECONDS = "ns", "Nanoseconds"
        MICROSECONDS = "us", "Microseconds"
        MILLISECONDS = "ms", "Milliseconds"
        SECONDS = "s", "Seconds"

    class UnknownMetrics(models.TextChoices):
        REGISTER = "register", "Accept and register"
        REJECT = "reject", "Reject"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    protocol = models.CharField(max_length=12, choices=Protocol, default=Protocol.AUTO)
    codec = models.CharField(max_length=12, choices=Codec, default=Codec.AUTO, help_text="How its messages are written.")
    line_precision = models.CharField(
        max_length=2, choices=LinePrecision, default=LinePrecision.NANOSECONDS, help_text="Unit of the time stamps in line protocol."
    )
    unknown_metrics = models.CharField(max_length=12, choices=UnknownMetrics, default=UnknownMetrics.REGISTER)
    inactivity_timeout = models.DurationField(
        default=timedelta(minutes=5),
        validators=[validate_duration],
        help_text="Silent longer than this: stale; three times as long: offline.",
    )
    offline_severity = models.CharField(
        max_length=8, choices=OfflineSeverity, default=OfflineSeverity.MEDIUM, help_text="Of the incident when a device goes offline."
    )
    commands = models.JSONField(
        default=list, blank=True, validators=[validate_commands], help_text="What its devices accept; an empty list: any command."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.commands = self.commands or []  # an emptied field of the admin's form is None


NO_NUMBER_LEFT = f"There are {LAST_NUMBER:,} metrics, as many as there may be. Delete some that no device sends, or types without devices."


class Metric(models.Model):
    """One quantity that devices of a type report. The small id is part of every reading's key; see `devices.metric_numbers`."""

    class DataType(models.TextChoices):
        NUMBER = "number", "Number"
        BOOLEAN = "boolean", "Boolean"
        TEXT = "text", "Text"

    id = models.SmallAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    device_type = models.ForeignKey(DeviceType, on_delete=models.PROTECT, related_name="metrics")
    key = models.CharField(max_length=64, validators=[validate_metric_key])
    name = models.CharField(max_length=120, blank=True)
    unit = models.CharField(max_length=24, blank=True)
    data_type = models.CharField(max_length=8, choices=DataType, default=DataType.NUMBER)
    minimum = models.FloatField(null=True, blank=True, help_text="Below this a reading is stored as uncertain.")
    maximum = models.FloatField(null=True, blank=True, help_text="Above this a reading is stored as uncertain.")
    deadband = models.FloatField(null=True, blank=True, help_text="Changes smaller than this are noise.")
    expected_period = models.DurationField(null=True, blank=True, validators=[validate_duration], help_text="How often a value is due.")
    registered_at = models.DateTimeField(
        "registered by a message", null=True, editable=False, help_text="When a device began to send it. Empty: somebody made it."
    )

    class Meta:
        ordering = ["key"]
        constraints = [
            models.UniqueConstraint(fields=["device_type", "key"], name="metric_key_once_per_type"),
            models.CheckConstraint(
                condition=models.Q(minimum__lte=models.F("maximum")),
                name="metric_bounds_in_order",
                violation_error_message="The minimum must not be above the maximum.",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.key

    def clean(self) -> None:
        if self._state.adding and count_free_numbers() < 1:
            raise ValidationError(NO_NUMBER_LEFT)


class FreedNumber(models.Model):
    """The number of a metric that was deleted just now: see `devices.metric_numbers`."""

    number = models.SmallIntegerField(primary_key=True)
    freed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.number} since {self.freed_at:%Y-%m-%d %H:%M:%S}"


class Device(models.Model):
    """A machine, sensor or gateway. `key` names it on the wire, `uuid` in the API, the small `id` in readings."""

    class Status(models.TextChoices):
        NEVER = "never", "Never seen"
        ONLINE = "online", "Online"
        STALE = "stale", "Stale"
        OFFLINE = "offline", "Offline"

    class Connection(models.TextChoices):
        ONLINE = "online", "Connected"
        OFFLINE = "offline", "Disconnected"

    id = models.AutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=64, unique=True, validators=[validate_key], help_text="The device's name in topics and messages.")
    name = models.CharField(max_length=120)
    device_type = models.ForeignKey(DeviceType, on_delete=models.PROTECT, related_name="devices")
    site = models.ForeignKey(Site, null=True, blank=True, on_delete=models.PROTECT, related_name="devices")
    gateway = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children", help_text="Connected via."
    )
    protocol = models.CharField(max_length=12, choices=Protocol, blank=True, help_text="Empty: as the type says.")
    tags = models.JSONField(default=list, blank=True, validators=[validate_tags], help_text='A list of texts, e.g. ["hall-2", "critical"].')
    firmware = models.CharField(max_length=60, blank=True)
    latitude = models.FloatField(null=True, blank=True, validators=[MinValueValidator(-90), MaxValueValidator(90)])
    longitude = models.FloatField(null=True, blank=True, validators=[MinValueValidator(-180), MaxValueValidator(180)])
    is_enabled = models.BooleanField(default=True, help_text="Off: its messages are rejected.")
    last_seen_at = models.DateTimeField(null=True, editable=False, help_text="By the database's clock, to five seconds.")
    last_seen_via = models.CharField(max_length=20, blank=True, editable=False, help_text="The listener that heard it last.")
    detected_protocol = models.CharField(
        max_length=20, blank=True, editable=False, help_text="Of the first valid message, where the protocol is to be detected."
    )
    detected_codec = models.CharField(
        max_length=12, blank=True, editable=False, help_text="Of that message, where the format is to be detected."
    )
    detected_at = models.DateTimeField(null=True, editable=False)
    status = models.CharField(max_length=8, choices=Status, default=Status.NEVER, editable=False)
    status_since = models.DateTimeField(default=timezone.now, editable=False)
    is_offline_raised = models.BooleanField(default=False, editable=False, help_text="An alert says that it is offline.")
    connection = models.CharField(
        max_length=8, choices=Connection, blank=True, editable=False, help_text="As the device or its last will says."
    )
    connection_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        # None on last_seen_at: with each message it would cost an entry in every index of the table (decision 9).
        indexes = [models.Index(fields=["name"]), models.Index(fields=["status"]), GinIndex(fields=["tags"], name="device_tags")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.pk is not None and leads_to(Device.objects.all(), "gateway_id", start=self.gateway_id, target=self.pk):
            raise ValidationError({"gateway": "A device cannot be connected via itself."}, code="gateway_cycle")


class StatusChange(models.Model):
    """A device went online, stale or offline. Kept for a week."""

    id = models.BigAutoField(primary_key=True)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="status_changes")
    at = models.DateTimeField()
    before = models.CharField(max_length=8, choices=Device.Status)
    after = models.CharField(max_length=8, choices=Device.Status)
    is_told = models.BooleanField(default=False, help_text="Pages were told.")

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["device", "-at"]),
            models.Index(fields=["id"], condition=models.Q(is_told=False), name="status_change_untold"),
            models.Index(fields=["at"], name="status_change_age"),  # the watch forgets the old ones, every two seconds
        ]

    def __str__(self) -> str:
        return f"{self.before} → {self.after} at {self.at:%Y-%m-%d %H:%M:%S}"


class DeviceCredential(models.Model):
    """How a device proves who it is. Secrets are shown once; only a hash is kept, or, where both sides need the key, a sealed copy."""

    class Kind(models.TextChoices):
        TOKEN = "token", "Access token (HTTP, CoAP)"
        MQTT = "mqtt", "Username and password (MQTT, AMQP)"
        X509 = "x509", "X.509 certificate"
        OSCORE = "oscore", "OSCORE keys (CoAP)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="credentials")
    kind = models.CharField(max_length=8, choices=Kind)
    identifier = models.CharField(
        max_length=140, editable=False, help_text="Token prefix, username <tenant>/<device>, certificate's SHA-256 or OSCORE client id."
    )
    subject = models.CharField(max_length=500, blank=True, editable=False, help_text="Of a certificate.")
    secret_hash = models.CharField(max_length=200, blank=True, editable=False)
    sealed_secret = models.TextField(
        blank=True, editable=False, help_text="OSCORE keys, or a certificate's broker password; sealed with the secret key."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, editable=False, help_text="Since then there is a successor; valid until it expires.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute; unknown for passwords that a broker checks.")

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "identifier"], condition=models.Q(revoked_at=None), name="credential_identifier_once_while_valid"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.device}"


class ProvisioningKey(models.Model):
    """Lets devices of one type register themselves. The key is shown once; only a hash is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, help_text="What it is for, for example a production batch.")
    device_type = models.ForeignKey(DeviceType, on_delete=models.CASCADE, related_name="provisioning_keys")
    site = models.ForeignKey(
        Site, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="Where new devices are placed."
    )
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    max_uses = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="How many devices may register. Empty: any number."
    )
    use_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.expires_at is not None and not self.created_at < self.expires_at <= LAST_MOMENT:
            raise ValidationError({"expires_at": "Choose a moment in the future."})


class ClaimCode(models.Model):
    """The one-time code on a device's label: whoever scans it and may change devices puts the device into service."""

    device = models.OneToOneField(Device, primary_key=True, on_delete=models.CASCADE, related_name="claim_code")
    sealed_code = models.TextField(editable=False, help_text="Sealed, not hashed: a lost label is printed again.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return f"Label of {self.device}"


class Command(models.Model):
    """Something that a device is told to do. The device gets the id with it, so that it can know a repetition."""

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        SENT = "sent", "Sent"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="commands")
    name = models.CharField(max_length=64)
    payload = models.JSONField(null=True, blank=True)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, db_constraint=False, on_delete=models.DO_NOTHING, related_name="+"
    )
    created_by_name = models.CharField(max_length=160, blank=True, help_text="Who it was; also set for an API key.")
    idempotency_key = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    offer_at = models.DateTimeField(help_text="When it is next sent, unless it is answered by then.")
    sent_at = models.DateTimeField(null=True, help_text="First.")
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    response = models.JSONField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["device", "-created_at"]),
            models.Index(fields=["offer_at"], condition=models.Q(state__in=["queued", "sent"]), name="command_open"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["device", "idempotency_key"], condition=~models.Q(idempotency_key=""), name="command_once_per_idempotency_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} to {self.device}"


class DesiredState(models.Model):
    """What a device shall be set to, and what it says that it is set to (shared configuration)."""

    device = models.OneToOneField(Device, primary_key=True, on_delete=models.CASCADE, related_name="state")
    desired = models.JSONField(default=dict, blank=True)
    version = models.PositiveIntegerField(default=0, help_text="Counts the changes of what is desired.")
    changed_at = models.DateTimeField(null=True)
    changed_by_name = models.CharField(max_length=160, blank=True)
    reported = models.JSONField(default=dict, blank=True)
    reported_version = models.PositiveIntegerField(default=0, help_text="Counts the changes of what is reported.")
    reported_at = models.DateTimeField(null=True, help_text="When the device last reported, changed or not.")
    offer_at = models.DateTimeField(null=True, help_text="When the device is next told. Empty: it has all, or was told often enough.")
    attempts = models.PositiveIntegerField(default=0, help_text="How often it was told of this version.")
    sent_at = models.DateTimeField(null=True, help_text="When it was last told of this version.")

    class Meta:
        ordering = ["device"]
        indexes = [models.Index(fields=["offer_at"], condition=models.Q(offer_at__isnull=False), name="desired_state_to_send")]

    def __str__(self) -> str:
        return f"State of {self.device}"


class DesiredStateChange(models.Model):
    """Who changed a device's desired state, and how. The newest ones of each device are kept."""

    id = models.BigAutoField(primary_key=True)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="state_changes")
    version = models.PositiveIntegerField()
    patch = models.JSONField(help_text="JSON merge patch (RFC 7396).")
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, db_constraint=False, on_delete=models.DO_NOTHING, related_name="+"
    )
    by_name = models.CharField(max_length=160, blank=True, help_text="Who it was; also set for an API key.")

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["device", "version"], name="state_change_once_per_version")]

    def __str__(self) -> str:
        return f"Version {self.version} of {self.device}"
