"""What listeners remember. Shared schema: one listener serves every tenant."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class ListenerState(models.Model):
    """The last heartbeat of a listener process."""

    name = models.CharField(primary_key=True, max_length=60, help_text="Such as mqtt.")
    host = models.CharField(max_length=120)
    pid = models.IntegerField()
    state = models.CharField(max_length=16, help_text="connecting, connected, stopped")
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    messages = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.state}"


class UnroutedCount(models.Model):
    """Messages that named no active tenant, per listener and minute: the part of the ledger that is no tenant's."""

    pk = models.CompositePrimaryKey("minute", "listener")
    minute = models.DateTimeField()
    listener = models.CharField(max_length=20)
    messages = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.listener} {self.minute}: {self.messages}"


class DeliveryWindow(models.Model):
    """Packet ids of messages without a time stamp of their own that were committed in one batch.

    A broker sends again what it has no PUBACK for (MQTT 3.1.1 §4.4). A reading with a source time is stored once
    anyway; one without gets the time of receipt, so the redelivery is recognised here: same consumer, packet id and
    digest within the last deliveries. Written in the transaction that stores the batch; old rows are pruned.
    """

    id = models.BigAutoField(primary_key=True)
    consumer = models.CharField(max_length=80)
    delivery_until = models.BigIntegerField(help_text="The consumer's delivery count at the end of the batch.")
    packet_ids = ArrayField(models.IntegerField())
    digests = ArrayField(models.BigIntegerField(), help_text="64-bit BLAKE2b of topic and payload, signed.")

    class Meta:
        indexes = [models.Index(fields=["consumer", "delivery_until"])]

    def __str__(self) -> str:
        return f"{self.consumer} up to {self.delivery_until}"
