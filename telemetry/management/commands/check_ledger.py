"""`manage.py check_ledger`: does the ingest ledger add up, and are the readings there that it says were stored?"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_tenants.utils import tenant_context

from telemetry.ledger import list_broken_entries, list_day_differences
from tenants.models import Tenant

LINES_SHOWN = 20


class Command(BaseCommand):
    help = (
        "Checks every entry of the ingest ledger (received = stored + duplicate + rejected), and per UTC day of source time that as"
        " many readings are stored as the ledger says. Exit code 1 where anything differs. Reads all readings: takes its time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="Slug of one tenant; all active ones without it.")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.filter(status=Tenant.Status.ACTIVE).order_by("slug")
        if options["tenant"]:
            tenants = tenants.filter(slug=options["tenant"])
            if not tenants:
                raise CommandError(f"There is no active tenant {options['tenant']!r}.")
        wrong = [tenant.slug for tenant in tenants if not self._is_right(tenant)]
        if wrong:
            raise CommandError(f"The ledger is wrong for {', '.join(wrong)}.")
        self.stdout.write(f"{len(tenants)} tenants: every entry adds up, every day's readings are there")

    def _is_right(self, tenant: Tenant) -> bool:
        with tenant_context(tenant):
            broken, differences = list_broken_entries(limit=LINES_SHOWN), list_day_differences()
        for minute, listener, slot in broken:
            self.stderr.write(f"{tenant.slug}: {minute:%Y-%m-%d %H:%M} {listener} (slot {slot}) does not add up")
        for difference in differences[:LINES_SHOWN]:
            self.stderr.write(
                f"{tenant.slug}: {difference.day} has {difference.in_tables} readings, the ledger says {difference.in_ledger}"
            )
        return not broken and not differences
