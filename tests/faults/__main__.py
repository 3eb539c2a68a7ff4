"""`python -m tests.faults [NAME …]`: start a platform, break it as the list says, print what was lost. Exit code 1 where anything was."""

import sys
import tempfile
import time
from pathlib import Path

from tests.faults.faults import FAULTS
from tests.faults.run import Run
from tests.platform import running_platform


def main(names: list[str]) -> int:
    """Run the faults named, or all; return the exit code."""
    if unknown := set(names) - set(FAULTS):
        print(f"There is no fault {', '.join(sorted(unknown))}; there are: {', '.join(FAULTS)}.")
        return 2
    failed = []
    with tempfile.TemporaryDirectory(prefix="iiot-faults-") as folder, running_platform(Path(folder), fast=False) as platform:
        run = Run(platform)
        for name in names or list(FAULTS):
            began = time.monotonic()
            verdict = FAULTS[name](run)
            word = "ok" if verdict.has_passed else "FAILED"
            print(f"{name:22} {word}: {verdict.tally}; {verdict.remark}; {time.monotonic() - began:.0f} s", flush=True)
            if not verdict.has_passed:
                print(f"{'':22} {verdict.fault or 'readings are wrong'}", flush=True)
                failed.append(name)
    print(f"{len(failed)} of {len(names or FAULTS)} faults failed: {', '.join(failed)}" if failed else "All faults survived.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
