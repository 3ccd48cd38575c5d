"""All benchmarks, one after the other: `make bench`, or `python -m bench [NAME …]`.

Each `bench_NAME.py` is a program that prints its table and exits with 1 when a budget is missed.
"""

import subprocess
import sys
import time
from pathlib import Path


def main(names: list[str]) -> int:
    """Exit status 1 if any benchmark missed its budget."""
    folder = Path(__file__).parent
    found = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(found)}", file=sys.stderr)
        return 2
    missed = []
    for name in names or found:
        print(f"== {name}", flush=True)
        began_s = time.monotonic()
        if subprocess.run([sys.executable, str(found[name])], check=False).returncode != 0:
            missed.append(name)
        print(f"   ({time.monotonic() - began_s:.0f} s)\n", flush=True)
    print(f"missed: {', '.join(missed)}" if missed else "every budget was kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
