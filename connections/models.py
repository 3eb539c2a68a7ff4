"""What the platform calls by itself: Modbus devices, and where in them the values lie; OPC UA servers in `opcua_models`."""

import uuid
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.plant_hosts import validate_host, validate_in_plant
from devices.models import Device, DeviceType, validate_metric_key

__all__ = ["ModbusConnection", "ModbusRegister", "ModbusRegisterMap", "OpcUaNode", "OpcUaServer"]

BIT_TABLES = ("coil", "discrete")
LAST_ADDRESS = 65_535


class ModbusRegister(models.Model):
    """One value of a device type's register map."""

    class Table(models.TextChoices):
        COIL = "coil", "Coil (0xxxx, read/write bit)"
        DISCRETE = "discrete", "Discrete input (1xxxx, read-only bit)"
        INPUT = "input", "Input register (3xxxx, read-only)"
        HOLDING = "holding", "Holding register (4xxxx, read/write)"

    class DataType(models.TextChoices):
        BOOL = "bool", "Boolean"
        INT16 = "int16", "int16"
        UINT16 = "uint16", "uint16"
        INT32 = "int32", "int32 (2 registers)"
        UINT32 = "uint32", "uint32 (2 registers)"
        INT64 = "int64", "int64 (4 registers)"
        UINT64 = "uint64", "uint64 (4 registers)"
        FLOAT32 = "float32", "float32 (2 registers)"
        FLOAT64 = "float64", "float64 (4 registers)"
        STRING = "string", "Text (2 characters per register)"

    class WordOrder(models.TextChoices):
        BIG = "big", "High word first"
        LITTLE = "little", "Low word first"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    device_type = models.ForeignKey(DeviceType, on_delete=models.CASCADE, related_name="modbus_registers")
    metric = models.CharField(max_length=64, validators=[validate_metric_key], help_text="Key of the metric that gets the value.")
    table = models.CharField(max_length=8, choices=Table, default=Table.HOLDING)
    address = models.PositiveIntegerField(
        validators=[MaxValueValidator(LAST_ADDRESS)],
        help_text="From 0, as it goes over the wire. A manual's 40001 is holding register 0, its 30011 input register 10.",
    )
    data_type = models.CharField(max_length=8, choices=DataType, default=DataType.UINT16)
    length = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(125)], help_text="Registers of a text; other types know their own."
    )
    word_order = models.CharField(max_length=6, choices=WordOrder, default=WordOrder.BIG, help_text="For values of several registers.")
    byte_swap = models.BooleanField(default=False, help_text="Swap the two bytes of each register first.")
    scale = models.FloatField(default=1.0, help_text="Value = raw * scale + offset.")
    offset = models.FloatField(default=0.0)
    bit = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(15)], help_text="A boolean in a register: which bit, 0 is the lowest."
    )

    WIDTHS = {"int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}

    class Meta:
        ordering = ["table", "address"]
        constraints = [models.UniqueConstraint(fields=["device_type", "metric"], name="modbus_metric_once_per_type")]

    def __str__(self) -> str:
        return f"{self.metric} ({self.table} {self.address})"

    @property
    def width(self) -> int:
        """How many registers or coils the value takes."""
        return self.length if self.data_type == self.DataType.STRING else self.WIDTHS.get(self.data_type, 1)

    def clean(self) -> None:
        errors = {}
        if self.table in BIT_TABLES and self.data_type != self.DataType.BOOL:
            errors["data_type"] = "Coils and discrete inputs are booleans."
        if self.bit is not None and (self.data_type != self.DataType.BOOL or self.table in BIT_TABLES):
            errors["bit"] = "Only a boolean in a register has a bit number."
        if isinstance(self.address, int) and isinstance(self.length, int) and self.address + self.width - 1 > LAST_ADDRESS:
            errors["address"] = f"The value would end behind address {LAST_ADDRESS}."
        if self.scale == 0:
            errors["scale"] = "A scale of 0 would make every value the same."
        if errors:
            raise ValidationError(errors)


class ModbusRegisterMap(DeviceType):
    """A device type, seen as its register map."""

    class Meta:
        proxy = True
        verbose_name = "Modbus register map"


class ModbusConnection(models.Model):
    """Where a device answers Modbus TCP, how often it is asked, and how that goes."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        CONNECTED = "connected", "Connected"
        FAILING = "failing", "Failing"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="modbus_connection")
    host = models.CharField(max_length=253, validators=[validate_host], help_text="Name or address in the plant's network.")
    port = models.PositiveIntegerField(default=502, validators=[MinValueValidator(1), MaxValueValidator(65_535)])
    unit_id = models.PositiveSmallIntegerField(
        default=1, validators=[MaxValueValidator(255)], help_text="Of the device behind a gateway; 1, 0 or 255 for one that stands alone."
    )
    poll_interval = models.DurationField(
        default=timedelta(seconds=1), validators=[MinValueValidator(timedelta(seconds=0.1)), MaxValueValidator(timedelta(days=1))]
    )
    timeout = models.DurationField(
        default=timedelta(seconds=3), validators=[MinValueValidator(timedelta(seconds=0.1)), MaxValueValidator(timedelta(seconds=30))]
    )
    is_enabled = models.BooleanField(default=True)
    state = models.CharField(max_length=12, choices=State, default=State.WAITING, editable=False)
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    state_at = models.DateTimeField(null=True, editable=False, help_text="Since when the state is so.")
    last_answer_at = models.DateTimeField(null=True, editable=False, help_text="When it last gave a value, to some seconds.")

    class Meta:
        ordering = ["device__name"]

    def __str__(self) -> str:
        return f"{self.device} at {self.host}:{self.port}"

    def clean(self) -> None:
        """Refuse at once what no poll would be let through to."""
        if self.host and isinstance(self.port, int):
            try:
                validate_in_plant(self.host, self.port)
            except ValidationError as exc:
                raise ValidationError({"host": exc}) from exc
