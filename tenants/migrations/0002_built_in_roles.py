"""Seed the built-in roles, as `tenants.permissions` names them. Running it again brings them up to date."""

from typing import Any

from django.db import migrations

from tenants.permissions import BUILT_IN_ROLES


def seed_roles(apps: Any, schema_editor: Any) -> None:
    # Tables of `tenants` exist in the shared schema only; a tenant's schema records this migration without effect.
    if schema_editor.connection.schema_name != "public":
        return
    for name, permissions in BUILT_IN_ROLES.items():
        apps.get_model("tenants", "Role").objects.update_or_create(tenant=None, name=name, defaults={"permissions": list(permissions)})


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]
    operations = [migrations.RunPython(seed_roles, migrations.RunPython.noop)]
