"""A listener whose clock can be moved, and a tenant whose table can be taken away."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.utils import timezone
from django_tenants.utils import schema_context, tenant_context

from protocols import pipeline
from protocols.handoff import Committed
from protocols.holding import Holding
from protocols.progress import Progress
from protocols.types import BatchOutcome, RawMessage
from telemetry.models import Reading
from tenants.models import Tenant


class Door:
    """Stands for a listener: its clock can be moved, and what it hands on is kept."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.errors: list[str] = []
        self.committed: list[Committed] = []
        self._holding = Holding(report=self.errors.append, clock=lambda: self.seconds)

    def take(self, *messages: RawMessage, uncovered: frozenset[int] = frozenset(), progress: Progress | None = None) -> BatchOutcome:
        return pipeline.process_messages(
            messages=messages,
            now=timezone.now(),
            hand_on=self.committed.append,
            uncovered=uncovered,
            progress=progress,
            holding=self._holding,
        )


@contextmanager
def readings_away(tenant: Tenant) -> Iterator[None]:
    """Take the tenant's table of readings away, as a migration that went wrong would."""
    with schema_context(tenant.schema_name), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE telemetry_reading RENAME TO reading_away")
    yield
    with schema_context(tenant.schema_name), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE reading_away RENAME TO telemetry_reading")


def values_of(tenant: Tenant) -> list[float | None]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("ts").values_list("value", flat=True))
