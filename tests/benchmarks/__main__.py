"""`python -m tests.benchmarks [NAME …]`: run every benchmark, or those named; each prints its own line."""

import importlib
import sys
from pathlib import Path


def benchmark_names() -> list[str]:
    """Return the benchmarks there are: `bench_<name>.py` beside this file."""
    return sorted(path.stem.removeprefix("bench_").replace("_", "-") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> None:
    """Run benchmarks one after another."""
    known = benchmark_names()
    if unknown := set(names) - set(known):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(known)}.")
    for name in names or known:
        importlib.import_module(f"tests.benchmarks.bench_{name.replace('-', '_')}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
