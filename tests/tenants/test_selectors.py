from threading import Thread

from tenants.models import Tenant
from tenants.selectors import clear_tenant_cache, get_tenant_by_slug
from tests.waiting import WAIT_SECONDS


def test_the_cache_is_cleared_under_its_lock(acme: Tenant) -> None:
    lock = get_tenant_by_slug.cache_lock
    assert lock is not None
    clearing = Thread(target=clear_tenant_cache)
    with lock:
        clearing.start()
        clearing.join(0.2)
        assert clearing.is_alive()
    clearing.join(WAIT_SECONDS)
    assert not clearing.is_alive()
