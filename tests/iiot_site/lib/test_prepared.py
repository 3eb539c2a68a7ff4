import pytest
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django_tenants.utils import tenant_context

from iiot_site.lib.prepared import BinaryValue, execute_prepared
from tenants.models import Tenant

COUNT = "SELECT current_schema(), %s::integer + count(*) FROM {schema}.devices_site"


def count_in(*tenants: Tenant, times: int = 5) -> list[tuple[str, int]]:
    counts = []
    for _ in range(times):
        for tenant in tenants:
            with tenant_context(tenant):
                counts += execute_prepared(COUNT, [BinaryValue((7).to_bytes(4, "big"))])
    return counts


def count_prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%devices_site%'")
        return int(cursor.fetchone()[0])


def forget_connection() -> None:
    """The next statement connects anew, with the settings as they are then."""
    connection.close()


@pytest.fixture
def fresh(transactional_db: None) -> None:
    forget_connection()


@pytest.mark.usefixtures("fresh")
def test_each_schema_has_a_statement_of_its_own(acme: Tenant, globex: Tenant) -> None:
    assert count_in(acme, globex) == [(acme.schema_name, 7), (globex.schema_name, 7)] * 5
    assert count_prepared() == 2


@pytest.mark.usefixtures("fresh")
@override_settings(IIOT_PREPARED_STATEMENTS=0)
def test_none_is_prepared_where_the_settings_say_so(acme: Tenant) -> None:
    assert count_in(acme) == [(acme.schema_name, 7)] * 5
    assert count_prepared() == 0
    forget_connection()


@pytest.mark.usefixtures("fresh")
@override_settings(IIOT_PREPARED_STATEMENTS=1)
def test_with_more_schemas_in_turn_than_are_kept_nothing_is_prepared_in_vain(acme: Tenant, globex: Tenant) -> None:
    assert len(count_in(acme, globex)) == 10
    assert count_prepared() == 0
    forget_connection()


@pytest.mark.usefixtures("fresh")
def test_errors_are_djangos_and_a_rolled_back_block_leaves_it_usable(acme: Tenant) -> None:
    with tenant_context(acme):
        for _ in range(4):
            with pytest.raises(IntegrityError), transaction.atomic():
                execute_prepared("INSERT INTO {schema}.telemetry_rollupprogress (id) VALUES (1)", [])
            assert execute_prepared(COUNT, [BinaryValue(bytes(4))]) == [(acme.schema_name, 0)]


@pytest.mark.usefixtures("fresh")
def test_statements_are_planned_once_also_after_the_first_transaction_failed(acme: Tenant) -> None:
    with transaction.atomic():
        count_in(acme)
        transaction.set_rollback(True)
    with connection.cursor() as cursor:
        cursor.execute("SHOW plan_cache_mode")
        assert cursor.fetchone()[0] == "force_generic_plan"
