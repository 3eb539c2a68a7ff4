"""tenants: the same MQTT load over 1, 10 and 100 tenants with 10,000 devices in all; the one-tenant run is the reference.

`make bench NAME=tenants`. Making a hundred tenants takes some minutes the first time. Two messages of each device go before
the measured ones: what a tenant costs once after a listener's start is printed apart.
"""

import os

from tests.benchmarks.mqtt_run import run_platform

DEVICES = 10_000
MESSAGES = int(os.environ.get("IIOT_BENCH_MESSAGES", "100000"))


def main() -> None:
    """Print rate and CPU time for each number of tenants."""
    reference = 0.0
    for count in [int(word) for word in os.environ.get("IIOT_BENCH_TENANTS", "1,10,100").split(",")]:
        slugs = [f"bench-of-{count}-{n}" for n in range(count)]
        figure, cpu = run_platform(slugs, devices=DEVICES // count, messages=MESSAGES, rate=0, warm_up=2 * DEVICES)
        reference = reference or cpu
        print(f"tenants {count}: {figure:,.0f} readings/s, CPU {cpu:.2f} s/100k readings, {cpu / reference:.2f} times that of one tenant")


if __name__ == "__main__":
    main()
