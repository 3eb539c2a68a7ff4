"""Migrations schema by schema: which lag (one query for all of them), and how one is brought up to date with progress."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django_tenants.utils import schema_context
from psycopg import sql

from tenants.connection import connection
from tenants.selectors import PUBLIC_SCHEMA
from tenants.types import MigrationProgress, ReportProgress


def _tenant_app_labels() -> set[str]:
    return set(settings.TENANT_APPS)


def _migrations_on_disk() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).graph.nodes)


def _applied_by_schema(schemas: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
    """Return what each schema has applied; a schema without the book-keeping table has applied nothing."""
    applied: dict[str, set[tuple[str, str]]] = {schema: set() for schema in schemas}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.nspname FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
            " WHERE c.relname = 'django_migrations' AND n.nspname = ANY(%s)",
            [list(applied)],
        )
        parts = [
            sql.SQL("SELECT {}::text, app, name FROM {}").format(sql.Literal(schema), sql.Identifier(schema, "django_migrations"))
            for (schema,) in cursor.fetchall()
        ]
        if parts:
            cursor.execute(sql.SQL(" UNION ALL ").join(parts).as_string(cursor.connection))
            for schema, app, name in cursor.fetchall():
                applied[schema].add((app, name))
    return applied


def does_shared_schema_lag() -> bool:
    """Tell whether a migration of any app is missing in the shared schema."""
    return not _migrations_on_disk() <= _applied_by_schema([PUBLIC_SCHEMA])[PUBLIC_SCHEMA]


def list_lagging_schemas(schemas: Iterable[str]) -> list[str]:
    """Return those of the tenants' `schemas` that lack a migration of an app with tables per tenant, in the given order."""
    labels = _tenant_app_labels()
    wanted = {(app, name) for app, name in _migrations_on_disk() if app in labels}
    return [schema for schema, applied in _applied_by_schema(schemas).items() if not wanted <= applied]


def migrate_shared_schema() -> None:
    """Bring the shared schema up to date."""
    call_command("migrate_schemas", shared=True, interactive=False, verbosity=0)
    connection.set_schema_to_public()


def create_schema(schema: str) -> None:
    """Create the schema unless it exists."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)).as_string(cursor.connection))


def migrate_schema(schema: str, report: ReportProgress) -> int:
    """Apply what the tenant's schema lacks and return how many migrations that were.

    Each migration commits by itself, so a run that broke off goes on where it stopped.
    """
    with schema_context(schema):
        connection.set_schema(schema, include_public=False)  # else the recorder would find the shared schema's table
        MigrationRecorder(connection).ensure_schema()
        connection.set_schema(schema)
        executor = MigrationExecutor(connection)
        labels = _tenant_app_labels()
        targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] in labels]
        total = len(executor.migration_plan(targets))
        done = 0

        def note(action: str, migration: Any = None, fake: bool = False) -> None:
            nonlocal done
            if action == "apply_success":
                done += 1
            if action in {"apply_start", "apply_success"}:
                report(MigrationProgress(step=f"{migration.app_label}.{migration.name}", done=done, total=total))

        executor.progress_callback = note  # type: ignore[assignment]  # the stubs know narrower arguments than Django sends
        executor.migrate(targets)
        return total
