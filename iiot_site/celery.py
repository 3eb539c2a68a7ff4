"""The Celery application. Tasks carry the tenant's schema in a header (tenant-schemas-celery)."""

import gc
import logging
import os
import time
from typing import Any

import redis
from celery.signals import after_task_publish, beat_init, celeryd_init, worker_before_create_process, worker_ready
from tenant_schemas_celery.app import CeleryApp, get_schema_name_from_task
from tenant_schemas_celery.task import TenantTask

from iiot_site.lib.errors import IIoTError
from iiot_site.lib.lock_waits import limit_lock_waits
from iiot_site.lib.readiness import report_ready
from iiot_site.lib.redis_guard import redis_client
from iiot_site.lib.schemas import current_schema

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")

logger = logging.getLogger(__name__)

PUBLIC_SCHEMA = "public"
MAX_SCHEMA_RETRIES = 10
LAST_RETRY_SECONDS = 30
WORKER_SOCKET_TIMEOUT_SECONDS = 30
WORKER_LOCK_SECONDS = 2  # a tenant whose tables are locked for longer has to come again: the workers are there for all
BEAT_KEY = "iiot:beat-ticked"


class SchemaNotEnteredError(IIoTError):
    """The tenant of a task is gone, or the database did not answer when the task was about to start."""


class SchemaTask(TenantTask):
    """A task that runs in the schema of its message or not at all.

    Celery only logs what goes wrong before a task, when the schema is entered, and would run it in `public`.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        wanted = get_schema_name_from_task(self, kwargs) or PUBLIC_SCHEMA
        if current_schema() != wanted:
            raise self.retry(
                exc=SchemaNotEnteredError(f"The schema {wanted} could not be entered."),
                countdown=min(2**self.request.retries, LAST_RETRY_SECONDS),
                max_retries=MAX_SCHEMA_RETRIES,
                headers={**(self.request.headers or {}), "_schema_name": wanted},
            )
        return self.run(*args, **kwargs)


app = CeleryApp("iiot_site", task_cls=SchemaTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def let_workers_wait(conf: Any, **_: Any) -> None:
    """Give a worker, whom nobody waits for, more time for Redis than whoever sends within a request, and little for locks."""
    limit_lock_waits(WORKER_LOCK_SECONDS)
    conf.broker_transport_options = {**conf.broker_transport_options, "socket_timeout": WORKER_SOCKET_TIMEOUT_SECONDS}


@beat_init.connect
def tell_of_ticks(**_: Any) -> None:
    """Let beat note each task that it has sent; `iiot_site.health` looks how long ago that was."""
    after_task_publish.connect(note_tick)


def note_tick(**_: Any) -> None:
    """Note that beat ticks. Best effort: a Redis that is away is told of elsewhere."""
    try:
        redis_client(0).set(BEAT_KEY, time.time())
    except redis.RedisError as exc:
        logger.warning("beat's tick was not noted: %s", exc)


@worker_ready.connect
@beat_init.connect
def report_to_supervisor(**_: Any) -> None:
    """Say that the worker consumes from its queues, or that beat ticks."""
    report_ready()


@worker_before_create_process.connect
def share_memory(**_: Any) -> None:
    """Keep the collector off what the workers of the pool share with their parent: each page it marks would be copied."""
    gc.collect()
    gc.freeze()
