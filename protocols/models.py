"""What listeners remember. Shared schema: one listener serves every tenant."""

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class ListenerState(models.Model):
    """The last heartbeat of a listener process. Several may listen for one protocol; each has the lowest number that was free."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=60, help_text="Such as mqtt.")
    number = models.SmallIntegerField(default=1)
    host = models.CharField(max_length=120)
    pid = models.IntegerField()
    state = models.CharField(max_length=16, help_text="connecting, connected, stopped")
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    messages = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)
    bytes = models.BigIntegerField(default=0)
    messages_per_second = models.FloatField(default=0.0)
    bytes_per_second = models.FloatField(default=0.0)
    latency_p50_ms = models.FloatField(null=True, help_text="From receipt to commit, of the last batches.")
    latency_p99_ms = models.FloatField(null=True)
    buffer_length = models.IntegerField(default=0)
    buffer_fill = models.FloatField(default=0.0, help_text="From 0 to 1.")
    connections = models.IntegerField(null=True)
    restarts = models.IntegerField(default=0, help_text="New processes of this number since the first.")
    errors = models.JSONField(default=list, help_text="The last ones, with their times.")
    cache_hits = models.BigIntegerField(default=0, help_text="Look-ups since the start that needed no database.")
    cache_misses = models.BigIntegerField(default=0)
    connected_at = models.DateTimeField(null=True, help_text="The last heartbeat at which messages could come in.")
    clock_offset_seconds = models.FloatField(default=0, help_text="How far the database's clock is ahead of its host's.")

    class Meta:
        ordering = ["name", "number"]
        constraints = [models.UniqueConstraint(fields=["name", "number"], name="listener_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.number}: {self.state}"

    @property
    def buffer_percent(self) -> int:
        """How full the buffer is."""
        return round(self.buffer_fill * 100)

    @property
    def cache_hit_percent(self) -> float | None:
        """How many look-ups needed no database; None before the first."""
        asked = self.cache_hits + self.cache_misses
        return 100 * self.cache_hits / asked if asked else None

    def list_errors(self) -> list[dict[str, object]]:
        """Return the last errors with their times, the newest first."""
        return [{"at": datetime.fromisoformat(error["at"]), "text": error["text"]} for error in reversed(self.errors)]


class PlatformPulse(models.Model):
    """One row: when the watch over devices ran last, to notice that the platform was away or a clock was set."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    beat_at = models.DateTimeField(help_text="By the database's clock.")
    host = models.CharField(max_length=120, help_text="Name and boot of the host whose monotonic clock is meant.")
    monotonic_seconds = models.FloatField()
    clock_set_at = models.DateTimeField(null=True, help_text="When the clock last jumped.")
    clock_set_seconds = models.FloatField(default=0, help_text="By how much; ahead is positive.")

    def __str__(self) -> str:
        return f"{self.beat_at:%Y-%m-%d %H:%M:%S}"


class DoorPulse(models.Model):
    """When a process that takes messages in, but is no listener, last said so: the web process, for HTTP."""

    name = models.CharField(primary_key=True, max_length=60, help_text="As messages name it, such as http.")
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.beat_at:%Y-%m-%d %H:%M:%S}"


class OutageGap(models.Model):
    """A time in which the platform could not hear devices of a listener, or of any; it does not count as their silence."""

    id = models.BigAutoField(primary_key=True)
    listener = models.CharField(max_length=60, blank=True, help_text="Empty: all of them.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    reason = models.CharField(max_length=40)

    class Meta:
        ordering = ["-ended_at"]
        indexes = [models.Index(fields=["ended_at"])]

    def __str__(self) -> str:
        return f"{self.listener or 'everything'} from {self.started_at:%Y-%m-%d %H:%M:%S} to {self.ended_at:%H:%M:%S}"


class UnroutedCount(models.Model):
    """Messages that named no active tenant, or one that takes none, by listener and minute: the part of the ledger that is no tenant's."""

    pk = models.CompositePrimaryKey("minute", "listener")
    minute = models.DateTimeField()
    listener = models.CharField(max_length=20)
    messages = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.listener} {self.minute}: {self.messages}"


class SparkplugNode(models.Model):
    """The aliases that an edge node gave its metrics with its last births, so that a restart of ours needs none."""

    pk = models.CompositePrimaryKey("group", "node")
    group = models.CharField(max_length=200, help_text="Tenant, or <tenant>:<group>.")
    node = models.CharField(max_length=200)
    aliases = models.JSONField(help_text="Name by alias.")

    def __str__(self) -> str:
        return f"{self.group}/{self.node}"


class DeliveryWindow(models.Model):
    """The numbers of messages without a time stamp of their own that were committed in one batch.

    A broker sends again what it has no PUBACK for (MQTT 3.1.1 §4.4), a CoAP device what was not answered. A reading with a
    source time is stored once anyway; one without gets the time of receipt, so the redelivery is recognised here: same
    consumer, number and digest within the last deliveries. Numbers are packet ids (MQTT), message ids (CoAP), or of AMQP,
    which has none that stay, our own serial numbers. Written in the transaction that stores the batch; old rows are pruned.
    """

    id = models.BigAutoField(primary_key=True)
    consumer = models.CharField(max_length=80)
    delivery_until = models.BigIntegerField(help_text="The consumer's delivery count at the end of the batch.")
    numbers = ArrayField(models.IntegerField())
    digests = ArrayField(models.BigIntegerField(), help_text="64-bit BLAKE2b of topic and payload, signed.")
    recorded_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["consumer", "delivery_until"])]

    def __str__(self) -> str:
        return f"{self.consumer} up to {self.delivery_until}"


class HeldBacklog(models.Model):
    """How much of a tenant is held, and why: its tables could not take it while the database worked. Gone when all is stored."""

    tenant = models.CharField(primary_key=True, max_length=63, help_text="Its short name.")
    since = models.DateTimeField(help_text="When the first of it was held.")
    messages = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["tenant"]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.messages} messages since {self.since:%Y-%m-%d %H:%M:%S}"


class HeldMessage(models.Model):
    """A message that its device may forget, for it is committed here until its tenant can store it."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.CharField(max_length=63)
    owner = models.UUIDField(null=True, help_text="The tenant's id: another tenant may have its short name later.")
    received_at = models.DateTimeField(help_text="By the database's clock; no two of a device have the same.")
    size = models.IntegerField(help_text="Bytes of the message as it is held.")
    message = models.BinaryField(help_text="A `protocols.types.RawMessage` without its delivery, as MessagePack.")

    class Meta:
        indexes = [models.Index(fields=["tenant", "received_at", "id"])]

    def __str__(self) -> str:
        return f"{self.tenant} {self.received_at:%Y-%m-%d %H:%M:%S}"
