"""Which tenant's schema the database connection is in."""

from django.db import connection


def current_schema() -> str:
    """Return the schema, "public" outside of every tenant."""
    return str(connection.schema_name)  # type: ignore[attr-defined]  # django-tenants adds it to the connection


def lock_in_schema(what: str) -> None:
    """Wait until no other transaction of the current schema holds `what`; held until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", [what, current_schema()])


def try_lock_in_schema(what: str) -> bool:
    """Take the lock as `lock_in_schema` does; return False at once where another transaction holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s), hashtext(%s))", [what, current_schema()])
        row = cursor.fetchone()
        return row is not None and bool(row[0])
