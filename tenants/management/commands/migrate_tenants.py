"""`manage.py migrate_tenants`: bring the shared schema and those tenants that lag up to date."""

from typing import Any

from django.core.management.base import BaseCommand

from tenants.migrating import create_schema, does_shared_schema_lag, list_lagging_schemas, migrate_schema, migrate_shared_schema
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Migrates the shared schema if it lags, then only the tenants that lag. Broken off, it goes on where it stopped."
    requires_system_checks = ()  # unfold's look into tables that do not exist yet

    def handle(self, *args: Any, **options: Any) -> None:
        if does_shared_schema_lag():
            self.stdout.write("shared schema: migrating …")
            self.stdout.flush()
            migrate_shared_schema()
        # Tenants still being created are the worker's business.
        settled = Tenant.objects.filter(status__in=[Tenant.Status.ACTIVE, Tenant.Status.SUSPENDED])
        schemas = list(settled.order_by("slug").values_list("schema_name", flat=True))
        lagging = list_lagging_schemas(schemas)
        for number, schema in enumerate(lagging, start=1):
            create_schema(schema)
            count = migrate_schema(schema, lambda progress: None)
            self.stdout.write(f"[{number}/{len(lagging)}] {schema}: {count} migrations applied")
            self.stdout.flush()
        self.stdout.write(f"{len(schemas)} tenants, {len(lagging)} of them migrated")
