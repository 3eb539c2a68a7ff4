"""Plants' OPC UA servers, and which of their nodes are whose metric."""

import uuid
from datetime import timedelta
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from connections.certificates import fingerprint_of
from connections.plant_hosts import validate_host, validate_in_plant
from devices.command_schema import NAME_PATTERN
from devices.models import Device, validate_metric_key

OPCUA_PORT = 4840  # where an address names none
validate_node_id = RegexValidator(
    r"\A(?:ns=\d{1,5};|nsu=[^;\s]{1,150};)?[isgb]=[^\0\r\n]{1,200}\Z",
    "Use a node id such as nsu=http://plc.example/;s=Temperature, ns=2;i=1001 or i=2258.",
)

validate_command_name = RegexValidator(rf"^{NAME_PATTERN}\Z", "A command's name has 1 to 64 letters, digits and _ . -.")


def validate_endpoint_url(value: str) -> None:
    """Accept opc.tcp://host[:port][/path] whose host is a name or an address inside the plant's networks."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme != "opc.tcp" or not host or parts.username is not None or port == 0:
        raise ValidationError("Use an address such as opc.tcp://10.0.4.17:4840/path, without a user in it.")
    validate_host(host)
    validate_in_plant(host, port or OPCUA_PORT)


class OpcUaServer(models.Model):
    """A server of the plant that the platform reads, how it logs in there, and how that goes."""

    class Security(models.TextChoices):
        BASIC256SHA256 = "Basic256Sha256", "Basic256Sha256, signed and encrypted"
        AES128 = "Aes128_Sha256_RsaOaep", "Aes128_Sha256_RsaOaep, signed and encrypted"
        AES256 = "Aes256_Sha256_RsaPss", "Aes256_Sha256_RsaPss, signed and encrypted"
        NONE = "none", "None: anybody on the way can read and change the values"

    class Authentication(models.TextChoices):
        ANONYMOUS = "anonymous", "Anonymous"
        PASSWORD = "password", "User name and password"
        CERTIFICATE = "certificate", "The platform's certificate"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        CONNECTING = "connecting", "Connecting"
        CONNECTED = "connected", "Connected"
        FAILING = "failing", "Failing"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    endpoint_url = models.CharField(
        "address", max_length=300, validators=[validate_endpoint_url], help_text="Such as opc.tcp://10.0.4.17:4840/plc."
    )
    security = models.CharField(max_length=24, choices=Security, default=Security.BASIC256SHA256)
    authentication = models.CharField(max_length=12, choices=Authentication, default=Authentication.ANONYMOUS)
    username = models.CharField(max_length=120, blank=True)
    sealed_password = models.TextField(blank=True, editable=False)
    trusted_certificate = models.BinaryField(blank=True, default=b"", help_text="DER. The only one that is taken.")
    offered_certificate = models.BinaryField(blank=True, default=b"", help_text="DER. What the server showed, not trusted yet.")
    publishing_interval = models.DurationField(
        default=timedelta(seconds=0.5),
        validators=[MinValueValidator(timedelta(seconds=0.05)), MaxValueValidator(timedelta(minutes=10))],
        help_text="How often the server sends what has changed.",
    )
    sampling_interval = models.DurationField(
        null=True,
        blank=True,
        validators=[MinValueValidator(timedelta(0)), MaxValueValidator(timedelta(minutes=10))],
        help_text="How often the server looks at its values. Empty: as often as it publishes.",
    )
    is_enabled = models.BooleanField(default=True)
    state = models.CharField(max_length=12, choices=State, default=State.WAITING, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    state_at = models.DateTimeField(null=True, editable=False, help_text="Since when the state is so.")
    heard_at = models.DateTimeField(null=True, editable=False, help_text="When it last said anything, to some seconds.")
    item_count = models.PositiveIntegerField(default=0, editable=False, help_text="Nodes that the server watches for us.")

    class Meta:
        ordering = ["name"]
        verbose_name = "OPC UA server"

    def __str__(self) -> str:
        return self.name

    @property
    def has_password(self) -> bool:
        return bool(self.sealed_password)

    @property
    def trusted_fingerprint(self) -> str:
        return fingerprint_of(bytes(self.trusted_certificate or b""))

    @property
    def offered_fingerprint(self) -> str:
        return fingerprint_of(bytes(self.offered_certificate or b""))

    def clean(self) -> None:
        errors = {}
        if self.authentication == self.Authentication.PASSWORD and not self.username:
            errors["username"] = "Enter the user name to log in with."
        if self.security == self.Security.NONE and self.authentication != self.Authentication.ANONYMOUS:
            errors["authentication"] = "Without security nothing proves who asks for the login: use anonymous, or choose a security policy."
        if errors:
            raise ValidationError(errors)


class OpcUaNode(models.Model):
    """A node of a server whose values are one metric of one device."""

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(OpcUaServer, on_delete=models.CASCADE, related_name="nodes")
    node_id = models.CharField(
        "node", max_length=360, validators=[validate_node_id], help_text="Such as nsu=http://plc.example/;s=Temperature."
    )
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="opcua_nodes")
    metric = models.CharField(max_length=64, validators=[validate_metric_key], help_text="Key of the metric that gets the value.")
    scale = models.FloatField(default=1.0, help_text="Value = raw * scale + offset.")
    offset = models.FloatField(default=0.0)
    deadband = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.0)], help_text="The server keeps smaller changes of the raw value to itself."
    )
    command = models.CharField(
        max_length=64, blank=True, validators=[validate_command_name], help_text="Name of the device's command that writes this node."
    )
    problem = models.CharField(max_length=300, blank=True, editable=False, help_text="Why the server gives no values of it.")

    class Meta:
        ordering = ["device__name", "metric"]
        verbose_name = "OPC UA node"
        constraints = [
            models.UniqueConstraint(fields=["device", "metric"], name="opcua_metric_once_per_device"),
            models.UniqueConstraint(fields=["device", "command"], condition=~models.Q(command=""), name="opcua_command_once_per_device"),
        ]

    def __str__(self) -> str:
        return f"{self.node_id} → {self.metric}"

    def clean(self) -> None:
        errors = {}
        if self.scale == 0:
            errors["scale"] = "A scale of 0 would make every value the same."
        others = OpcUaNode.objects.filter(device=self.device_id).exclude(pk=self.pk).select_related("server", "device")
        if twin := others.filter(metric=self.metric).first():
            errors["metric"] = f"{twin.device} gets {self.metric} from {twin.where}. Remove that mapping first."
        if self.command and (twin := others.filter(command=self.command).first()):
            errors["command"] = f"{self.command} of {twin.device} writes {twin.where}. Remove that mapping first."
        if errors:
            raise ValidationError(errors)

    @property
    def where(self) -> str:
        """Where it stands, for whoever looks for it."""
        return f"{self.node_id} of the server {self.server.name}"
