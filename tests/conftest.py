"""What every test may ask for: databases, the tenants acme and globex, people of every role, clients, a device."""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.db import connections
from django.test import Client, TransactionTestCase
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from devices.models import Device, DeviceType, Metric, Site
from devices.services import create_device
from iiot_site.celery import app as celery_app
from iiot_site.lib.redis_guard import forget_failures
from protocols.resolution import clear_caches
from telemetry.partitions import forget_partitions
from tenants.models import Tenant, User
from tenants.selectors import clear_tenant_cache
from tenants.services import ensure_membership
from tenants.tokens import issue_tokens
from tests.template_database import Databases, require_servers

# A busy machine is slow, and that is no fault of what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

PASSWORD = "correct horse battery staple"

MakePerson = Callable[..., User]
MakeApi = Callable[[User | None, Tenant | None], APIClient]
MakeBrowser = Callable[[User | None], Client]
MakeDevice = Callable[..., Device]


# --- Databases


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Databases]:
    """Instead of pytest-django's: a copy of the template, and a new copy after each test with real transactions."""
    require_servers()
    with django_db_blocker.unblock():
        databases = Databases()
        databases.prepare()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: databases.recreate())
            yield databases
        databases.remove()


@pytest.fixture
def only_own_transactions(django_db_setup: Databases) -> None:
    """Let no transaction but the test's be open: roll-ups wait for those of other databases, too."""
    django_db_setup.wait_for_next()


@pytest.fixture(autouse=True)
def _forget_what_former_tests_left() -> None:
    clear_tenant_cache()
    forget_partitions()
    clear_caches()
    forget_failures()


@pytest.fixture
def process_env(transactional_db: None) -> dict[str, str]:
    """The environment for a real process (server, worker, listener) on this test's database."""
    config = connections.settings["default"]
    login = config["USER"] + (f":{config['PASSWORD']}" if config["PASSWORD"] else "")
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "iiot_site.settings",
        "DATABASE_URL": f"postgres://{login}@{config['HOST']}:{config['PORT']}/{config['NAME']}",
        "IIOT_SECRET_KEY": settings.SECRET_KEY,
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def eager_celery() -> Iterator[None]:
    """Run tasks in place when they are sent, and let their errors through."""
    before = celery_app.conf.task_always_eager, celery_app.conf.task_eager_propagates
    celery_app.conf.task_always_eager = celery_app.conf.task_eager_propagates = True
    yield
    celery_app.conf.task_always_eager, celery_app.conf.task_eager_propagates = before


# --- Tenants


@pytest.fixture
def acme(db: None) -> Tenant:
    tenant: Tenant = Tenant.objects.get(slug="acme")
    return tenant


@pytest.fixture
def globex(db: None) -> Tenant:
    tenant: Tenant = Tenant.objects.get(slug="globex")
    return tenant


@pytest.fixture
def in_acme(acme: Tenant) -> Iterator[Tenant]:
    """Run the test inside the schema of acme."""
    with tenant_context(acme):
        yield acme


# --- People


@pytest.fixture
def make_person(db: None) -> MakePerson:
    """Return `make_person(email, tenant=None, *roles, **fields)`."""

    def make(email: str, tenant: Tenant | None = None, *roles: str, **fields: Any) -> User:
        user = User.objects.create_user(email, PASSWORD, **fields)
        if tenant is not None:
            ensure_membership(user=user, tenant=tenant, role_names=roles)
        return user

    return make


@pytest.fixture
def acme_admin(make_person: MakePerson, acme: Tenant) -> User:
    return make_person("admin@acme.example", acme, "admin")


@pytest.fixture
def acme_developer(make_person: MakePerson, acme: Tenant) -> User:
    return make_person("developer@acme.example", acme, "developer")


@pytest.fixture
def acme_operator(make_person: MakePerson, acme: Tenant) -> User:
    return make_person("operator@acme.example", acme, "operator")


@pytest.fixture
def acme_viewer(make_person: MakePerson, acme: Tenant) -> User:
    return make_person("viewer@acme.example", acme, "viewer")


@pytest.fixture
def acme_auditor(make_person: MakePerson, acme: Tenant) -> User:
    return make_person("auditor@acme.example", acme, "auditor")


@pytest.fixture
def globex_admin(make_person: MakePerson, globex: Tenant) -> User:
    """The outsider, as far as acme is concerned."""
    return make_person("admin@globex.example", globex, "admin")


@pytest.fixture
def platform_admin(make_person: MakePerson) -> User:
    return make_person("platform@iiot.example", is_platform_admin=True)


# --- Clients


@pytest.fixture
def api(db: None) -> MakeApi:
    """Return `api(user, tenant)`: a client of `/api/v1/…` with the person's token for the tenant; None is nobody."""

    def make(user: User | None, tenant: Tenant | None) -> APIClient:
        client = APIClient()
        if user is not None:
            tokens = issue_tokens(user=user, tenant=tenant, now=timezone.now())
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.access}")
        return client

    return make


@pytest.fixture
def browser(db: None) -> MakeBrowser:
    """Return `browser(user)`: a browser of `/t/<slug>/…` in which the person is logged in; None is nobody."""

    def make(user: User | None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return make


# --- Devices


@pytest.fixture
def make_device() -> MakeDevice:
    """Return `make_device(key, …)`, for use inside a tenant: a device, with its type and metrics where missing."""

    def make(
        key: str = "pump-7",
        *,
        name: str = "Pump 7",
        type_name: str = "Pump",
        metrics: Sequence[str] = ("temperature",),
        site: Site | None = None,
        **details: Any,
    ) -> Device:
        device_type, _ = DeviceType.objects.get_or_create(name=type_name, defaults={"inactivity_timeout": timedelta(minutes=5)})
        for metric in metrics:
            Metric.objects.get_or_create(device_type=device_type, key=metric)
        return create_device(key=key, name=name, device_type=device_type, site=site, **details)

    return make
