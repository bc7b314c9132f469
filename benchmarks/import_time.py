"""What ``import jalon`` adds to the start of Python.

Usage: python benchmarks/import_time.py [rounds]

Interleaves ``python -c pass`` and ``python -c "import jalon"`` and prints the median of the differences of neighbours.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    seconds("import jalon")  # the first start fills the disk's cache
    pairs = [(seconds("pass"), seconds("import jalon")) for _ in range(rounds)]
    bare = statistics.median(bare for bare, _ in pairs) * 1e3
    added = statistics.median(ours - bare for bare, ours in pairs) * 1e3
    print(f"python -c pass       {bare:6.1f} ms")
    print(f"import jalon adds    {added:6.1f} ms  (median of {rounds} pairs)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
