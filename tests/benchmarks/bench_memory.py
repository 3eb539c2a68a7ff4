"""memory: what all processes of a platform take without the database, idle and after a minute of load. `make bench NAME=memory`.

Counted is proportional set size, so that what processes share counts once.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import psutil

from tests.faults.senders import MqttSender
from tests.platform import Platform, running_platform

SECONDS = float(os.environ.get("IIOT_BENCH_MEMORY_SECONDS", "60"))
RATE = 1000
LIMIT_MIB = 1024
# The servers that are not ours to make smaller; they are listed apart.
DATABASE = ("postgres",)


def memory_by_process(platform: Platform) -> dict[str, float]:
    """Return MiB by process, children with their parent, but for those that have a name of their own."""
    status = json.loads((platform.folder / "run" / "status.json").read_text())
    names = {entry["pid"]: name for name, entry in status.items() if entry["pid"]}
    names[platform.process.pid] = "supervisor"
    sizes: dict[str, float] = {}
    for process_id, name in names.items():
        root = psutil.Process(process_id)
        members = [root] if name in ("supervisor", "loader") else [root, *root.children(recursive=True)]
        for member in members:
            try:
                sizes[name] = sizes.get(name, 0.0) + member.memory_full_info().pss / 2**20
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    return sizes


def show(when: str, sizes: dict[str, float]) -> float:
    """Print the sizes; return their sum without the database."""
    total = sum(size for name, size in sizes.items() if name not in DATABASE)
    listed = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]))
    print(f"memory {when}: {total:.0f} MiB without the database (goal < {LIMIT_MIB}): {listed}")
    return total


def main() -> None:
    """Measure idle, and at the beginning and end of the load."""
    with tempfile.TemporaryDirectory(prefix="iiot-memory-") as folder, running_platform(Path(folder), fast=False) as platform:
        time.sleep(10)
        show("idle", memory_by_process(platform))
        senders = [MqttSender(platform, key, metric="memory", rate=RATE / 2) for key in ("furnace-1", "furnace-2")]
        for sender in senders:
            sender.start()
        time.sleep(SECONDS / 4)
        early = show("under load, after a quarter of the time", memory_by_process(platform))
        time.sleep(SECONDS * 3 / 4)
        late = show(f"under load, after {SECONDS:.0f} s", memory_by_process(platform))
        for sender in senders:
            sender.finish()
        print(f"memory {late / early:.2f} times of what it was {SECONDS * 3 / 4:.0f} s before, at {RATE} messages/s")


if __name__ == "__main__":
    main()
