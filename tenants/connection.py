"""Django's connection as django-tenants extends it (`tenant`, `schema_name`, `set_tenant` …), which has no types."""

from typing import Any

from django.db import connection as django_connection

connection: Any = django_connection
