"""cache: share of the pipeline's look-ups that need no database while a device is changed each second, and what each level costs.

Run it with `make bench NAME=cache`. The look-ups are those of batches of 1,000 messages, ten a second, from 1,000 devices.
"""

import os
import random
import time
from collections.abc import Callable

from tests.benchmarks.plant import make_plant  # sets Django up

from django_tenants.utils import tenant_context  # isort: skip

from devices.models import Device
from devices.services import save_device
from iiot_site.lib.lookups import begin_generation
from protocols import resolution
from protocols.invalidation import ChangeFollower
from tenants.models import Tenant

DEVICES = 1_000
BATCH = 1_000
SECONDS = float(os.environ.get("IIOT_BENCH_SECONDS", "20"))


def main() -> None:
    """Print the hit rate, and milliseconds for a batch from the process, from Redis and from the database."""
    [tenant] = make_plant(["bench-cache"], devices=DEVICES)
    follower = ChangeFollower()
    follower.start()
    try:
        with tenant_context(tenant):
            hit_rate, batches = run(tenant)
            print(f"cache: {hit_rate:.2%} of the look-ups of {batches} batches needed no database (goal 97 %)")
            levels = measure_levels(tenant)
            print("cache: one batch of 1,000 devices from " + ", ".join(f"{level} {ms:.2f} ms" for level, ms in levels.items()))
    finally:
        follower.stop()


def run(tenant: Tenant) -> tuple[float, int]:
    """Look up as the pipeline does, changing a device each second; return the hit rate and the number of batches."""
    rng = random.Random(1)
    devices = list(Device.objects.order_by("id"))
    hits, misses = resolution.count_lookups()
    ends_at, changes_at, batches = time.monotonic() + SECONDS, time.monotonic() + 1, 0
    while time.monotonic() < ends_at:
        began = time.monotonic()
        look_up(tenant, {rng.choice(devices).key for _ in range(BATCH)})
        batches += 1
        if time.monotonic() >= changes_at:
            changes_at += 1
            device = rng.choice(devices)
            device.name = f"changed {batches}"
            save_device(device=device)
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))
    hits, misses = resolution.count_lookups()[0] - hits, resolution.count_lookups()[1] - misses
    return hits / (hits + misses), batches


def look_up(tenant: Tenant, keys: set[str]) -> None:
    """What `process_messages` and the hand-off look up for one batch."""
    found = resolution.resolve_devices(tenant.schema_name, keys)
    resolution.resolve_metrics(tenant.schema_name, {ref.device_type_id for ref in found.values()})
    resolution.resolve_watched_series(tenant.schema_name)


def measure_levels(tenant: Tenant) -> dict[str, float]:
    """Return the milliseconds of a batch by where it is found; the median of nine."""
    keys = {f"dev{n}" for n in range(DEVICES)}

    def forget() -> None:
        resolution.forget_tenant(tenant.schema_name)

    def forget_everywhere() -> None:
        begin_generation(tenant.schema_name)
        forget()

    look_up(tenant, keys)
    return {
        "the process": _time(lambda: None, lambda: look_up(tenant, keys)),
        "Redis": _time(forget, lambda: look_up(tenant, keys)),
        "the database (and into Redis)": _time(forget_everywhere, lambda: look_up(tenant, keys)),
    }


def _time(prepare: Callable[[], None], work: Callable[[], None]) -> float:
    times = []
    for _ in range(9):
        prepare()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[4] * 1000


if __name__ == "__main__":
    main()
