"""Runs several pieces of work in the same moment, each on a database connection of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection
from django_tenants.utils import tenant_context

from tenants.models import Tenant


def run_at_once(tenant: Tenant, jobs: Sequence[Callable[[], object]]) -> list[BaseException | None]:
    """Run each job in a thread inside the tenant, all released together; return their errors in the same order."""
    start = Barrier(len(jobs))

    def work(job: Callable[[], object]) -> None:
        try:
            with tenant_context(tenant):
                start.wait()
                job()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [done.exception() for done in [pool.submit(work, job) for job in jobs]]
