"""Readings and what is known about the messages that carried none.

Layout measured: (ts, value, device, metric, quality) with primary key (device, metric, ts) INCLUDE (value), range
partitions by day. Foreign keys carry no constraint here: the pipeline resolves devices and metrics before it writes.
"""

import uuid

from django.db import models

from devices.models import Device, Metric
from telemetry import qualities


class Quality(models.IntegerChoices):
    """As in `telemetry.qualities`, for the admin."""

    GOOD = qualities.GOOD, "good"
    UNCERTAIN = qualities.UNCERTAIN, "uncertain"
    BAD = qualities.BAD, "bad"


class Reading(models.Model):
    """One number (booleans as 0 and 1) of one metric at one time. Partitioned by day; see `telemetry.partitions`."""

    pk = models.CompositePrimaryKey("device_id", "metric_id", "ts")
    ts = models.DateTimeField(help_text="Source time.")
    value = models.FloatField()
    device = models.ForeignKey(Device, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    metric = models.ForeignKey(Metric, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    quality = models.SmallIntegerField(choices=Quality, default=Quality.GOOD)

    def __str__(self) -> str:
        return f"{self.value} at {self.ts}"


class TextReading(models.Model):
    """One text value of one metric at one time."""

    pk = models.CompositePrimaryKey("device_id", "metric_id", "ts")
    ts = models.DateTimeField()
    value = models.CharField(max_length=1024)
    device = models.ForeignKey(Device, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    metric = models.ForeignKey(Metric, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    quality = models.SmallIntegerField(choices=Quality, default=Quality.GOOD)

    def __str__(self) -> str:
        return f"{self.value} at {self.ts}"


class LatestReading(models.Model):
    """The value with the newest source time of each series; exactly one of `value` and `text` is set.

    Goes with its device, and keeps its metric: a metric that is gone would hide the history of those who sent it.
    """

    pk = models.CompositePrimaryKey("device_id", "metric_id")
    device = models.ForeignKey(Device, db_constraint=False, db_index=False, on_delete=models.CASCADE, related_name="+")
    metric = models.ForeignKey(Metric, db_constraint=False, db_index=False, on_delete=models.PROTECT, related_name="+")
    ts = models.DateTimeField()
    received_at = models.DateTimeField()
    value = models.FloatField(null=True)
    text = models.CharField(max_length=1024, null=True)  # noqa: DJ001 - null tells a number from an empty text
    quality = models.SmallIntegerField(choices=Quality, default=Quality.GOOD)

    def __str__(self) -> str:
        return f"{self.text if self.value is None else self.value} at {self.ts}"


class Rollup(models.Model):
    """The readings of one series in one span of time. Exact, and several sum up to a longer span without loss.

    `total` and `squares` are infinite, or not a number, where no float can hold them.
    """

    pk = models.CompositePrimaryKey("device_id", "metric_id", "bucket")
    device = models.ForeignKey(Device, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    metric = models.ForeignKey(Metric, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    bucket = models.DateTimeField(help_text="Begin of the span (UTC).")
    n = models.IntegerField(help_text="How many readings.")
    total = models.FloatField()
    squares = models.FloatField(help_text="Sum of the squares.")
    low = models.FloatField()
    low_at = models.DateTimeField(help_text="When it was lowest for the first time.")
    high = models.FloatField()
    high_at = models.DateTimeField(help_text="When it was highest for the first time.")
    first_at = models.DateTimeField()
    first_value = models.FloatField()
    last_at = models.DateTimeField()
    last_value = models.FloatField()
    quality = models.SmallIntegerField(choices=Quality, help_text="The worst.")

    class Meta:
        abstract = True


class MinuteRollup(Rollup):
    """One minute."""

    def __str__(self) -> str:
        return f"{self.n} in the minute {self.bucket}"


class HourRollup(Rollup):
    """One hour."""

    def __str__(self) -> str:
        return f"{self.n} in the hour {self.bucket}"


class ChangedMinute(models.Model):
    """A minute that got readings after it was closed. Only appended to; who rolls up takes away what it has seen.

    Not unique on purpose: were a row not added because one is there, it might be taken away before this one's commit.
    """

    id = models.BigAutoField(primary_key=True)
    device = models.ForeignKey(Device, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    metric = models.ForeignKey(Metric, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+")
    minute = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["device", "metric", "minute"], name="changed_minute_series")]

    def __str__(self) -> str:
        return f"{self.minute}"


class RollupProgress(models.Model):
    """How far the roll-ups of the tenant are; one row. See `telemetry.rollups`."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    closed_until = models.DateTimeField(help_text="Readings from before this note their minute in ChangedMinute.")
    folded_until = models.DateTimeField(help_text="Minutes before this are rolled up.")
    barrier = models.BigIntegerField(null=True, help_text="Transactions from this number on knew of `closed_until`.")

    def __str__(self) -> str:
        return f"rolled up until {self.folded_until}"


class IngestLedger(models.Model):
    """What became of everything that came in: received = stored + duplicate + rejected, per listener and minute.

    Counted are values; a message that was refused as a whole, readable or not, counts as one. The minute is that of
    processing. Written in the transaction that stores the batch, so a batch that failed and comes again counts once.
    """

    pk = models.CompositePrimaryKey("minute", "listener", "slot")
    minute = models.DateTimeField()
    listener = models.CharField(max_length=20, help_text="Such as mqtt or http.")
    slot = models.SmallIntegerField(help_text="Writers take different slots, so that their transactions do not wait for each other.")
    received = models.BigIntegerField()
    stored = models.BigIntegerField()
    duplicate = models.BigIntegerField()
    rejected = models.BigIntegerField()
    rejected_by_reason = models.JSONField()
    stored_by_day = models.JSONField(help_text="Stored values by the UTC day of their source time, to compare with the readings.")
    messages = models.BigIntegerField()
    messages_repeated = models.BigIntegerField(help_text="Recognised as sent again by the broker.")
    messages_rejected = models.BigIntegerField(help_text="Nothing of them was accepted.")

    def __str__(self) -> str:
        return f"{self.listener} {self.minute}: {self.received} received"


class RejectedMessage(models.Model):
    """A message, or a part of one, that was not stored, with the reason. Bounded per tenant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    received_at = models.DateTimeField(db_index=True)
    protocol = models.CharField(max_length=12)
    source = models.CharField(max_length=300, help_text="Topic or address, as the listener saw it.")
    device = models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.CharField(max_length=40)
    detail = models.CharField(max_length=500)
    payload = models.BinaryField(help_text="The first 4 KiB of the frame.")
    payload_bytes = models.IntegerField()

    class Meta:
        ordering = ["-received_at"]

    def __str__(self) -> str:
        return f"{self.reason}: {self.source}"
