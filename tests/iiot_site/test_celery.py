"""Tasks run in their tenant's schema, or not at all."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django_tenants.utils import tenant_context

from iiot_site.celery import SchemaNotEnteredError, SchemaTask, app
from iiot_site.lib.schemas import current_schema
from tenants.models import Tenant


@pytest.fixture
def ran_in() -> Iterator[tuple[SchemaTask, list[str]]]:
    """A task, and the schemas it ran in."""
    schemas: list[str] = []

    @app.task(name="tests.where_am_i")
    def where_am_i() -> None:
        schemas.append(current_schema())

    yield where_am_i, schemas
    app.tasks.pop("tests.where_am_i")


def fail_to_enter(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    enter = SchemaTask.get_tenant_for_schema
    failures = iter(range(times))

    def look_up(schema_name: str) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("the database is away")
        return enter(schema_name)

    monkeypatch.setattr(SchemaTask, "get_tenant_for_schema", staticmethod(look_up))


def run_for(tenant: Tenant, task: SchemaTask) -> Any:
    """Run the task as a worker does, which is in `public`, with its retries; return the outcome."""
    return task.apply(headers={"_schema_name": tenant.schema_name}, throw=False).result


def test_a_task_waits_until_its_schema_can_be_entered(
    acme: Tenant, ran_in: tuple[SchemaTask, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, schemas = ran_in
    fail_to_enter(monkeypatch, times=2)
    run_for(acme, task)
    assert schemas == [acme.schema_name]


def test_a_task_whose_schema_is_gone_fails_without_having_run(
    acme: Tenant, ran_in: tuple[SchemaTask, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, schemas = ran_in
    fail_to_enter(monkeypatch, times=1_000)
    assert isinstance(run_for(acme, task), SchemaNotEnteredError)
    assert schemas == []


def test_a_task_called_as_a_function_runs_where_its_caller_is(acme: Tenant, ran_in: tuple[SchemaTask, list[str]]) -> None:
    task, schemas = ran_in
    with tenant_context(acme):
        task()
    assert schemas == [acme.schema_name]
