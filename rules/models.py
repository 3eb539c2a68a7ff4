"""Rules and what each knows about every series it watches."""

import uuid

from django.db import models
from django.utils import timezone

from alerting.models import Severity
from devices.models import Device, DeviceType, Metric, Site


class Rule(models.Model):
    """A condition on readings within a scope. `condition` is one of the shapes in `rules.conditions`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    description = models.TextField(blank=True)
    is_enabled = models.BooleanField(default=True)
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.HIGH)
    condition = models.JSONField(help_text='{"type": "threshold", "metric", "operator", "threshold", "clear_threshold"}')
    device = models.ForeignKey(Device, null=True, blank=True, on_delete=models.CASCADE, related_name="rules")
    device_type = models.ForeignKey(DeviceType, null=True, blank=True, on_delete=models.CASCADE, related_name="rules")
    site = models.ForeignKey(
        Site, null=True, blank=True, on_delete=models.CASCADE, related_name="rules", help_text="With everything below it."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RuleState(models.Model):
    """What a rule last decided about one series; survives restarts. `last_ts` keeps old readings from deciding."""

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="states")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.CASCADE, related_name="+")
    is_firing = models.BooleanField(default=False)
    since = models.DateTimeField(help_text="Source time of the reading that changed the state.")
    last_ts = models.DateTimeField(help_text="Source time of the newest reading evaluated.")
    last_value = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rule", "device", "metric"], name="rule_state_once_per_series")]

    def __str__(self) -> str:
        return f"{self.rule} on {self.device}: {'firing' if self.is_firing else 'clear'}"
