"""Fuzzes every target for its part of the time, then measures how each grows with its input.

    python -m fuzz --seconds 540            # what `make fuzz` runs
    python -m fuzz --seconds 60 job-file    # some targets only
    python -m fuzz --replay FILE http       # feed one input, for instance a crash that was found

New inputs that reach new code are kept in tests/fuzz/corpus/TARGET; commit those worth keeping.
An input that raises what is not documented is written to tests/fuzz/found/TARGET, and exit is 1.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.growth import LIMIT_S, SIZES_BYTES, measure
from fuzz.targets import Target, by_name, feed

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE / "found"
MAX_INPUT_BYTES = 16 * 1024
SLOWEST_S = 1
"""An input that takes so long is found as well; growth measures closer."""


def main() -> int:
    """The exit status: 0 = nothing found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="names; none = all")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--replay", type=Path)
    arguments = parser.parse_args()
    known = by_name()
    names = arguments.targets or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no target {unknown[0]}; there are {', '.join(known)}")
    if arguments.replay is not None:
        for name in names:
            feed(known[name], arguments.replay.read_bytes())
        return 0
    found = [
        name for name in names if not _fuzz_apart(known[name], arguments.seconds // len(names))
    ]
    slow = [line for name in names for line in _slow(known[name])]
    print(f"{len(names)} targets, {len(found)} with findings, {len(slow)} inputs too slow")
    return 1 if found or slow else 0


def _fuzz_apart(target: Target, seconds: int) -> bool:
    """libFuzzer ends its process, so each target has one of its own; True = nothing was found."""
    kept, found = CORPUS / target.name, FOUND / target.name
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        for number, seed in enumerate(target.seeds):
            Path(seeds, f"seed-{number}").write_bytes(seed)
        options = (
            f"-max_total_time={max(1, seconds)}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={SLOWEST_S * 10}",
            f"-artifact_prefix={found}/",
            "-print_final_stats=1",
            "-reduce_inputs=1",
        )
        python = (sys.executable, "-m", "fuzz.inside")
        command = [*python, target.name, *options, str(kept), seeds]
        ended = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, check=False
        )
    runs = [line.split()[-1] for line in ended.stderr.splitlines() if "number_of_executed" in line]
    verdict = "nothing found" if ended.returncode == 0 else f"FOUND, see {found}"
    print(f"{target.name:<12} {runs[0] if runs else '?':>10} runs  {verdict}", flush=True)
    if ended.returncode:
        print(ended.stderr[-3000:], file=sys.stderr)
    return ended.returncode == 0


def _slow(target: Target) -> list[str]:
    costs = list(measure(target))
    worst = max(costs, key=lambda cost: cost.cpu_s[-1])
    times = ", ".join(
        f"{size // 1024} KiB {cpu_s * 1000:.1f} ms"
        for size, cpu_s in zip(SIZES_BYTES, worst.cpu_s, strict=True)
    )
    print(f"{target.name:<12} slowest: {worst.shape}: {times} (at most {LIMIT_S * 1000:.0f} ms)")
    slow = [f"{c.target}: {c.shape} {c.problem}" for c in costs if c.problem]
    for line in slow:
        print(f"  {line}")
    target.close()
    return slow


if __name__ == "__main__":
    sys.exit(main())
