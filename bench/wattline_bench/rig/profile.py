"""Where a program's time goes: it runs under cProfile, and its functions are listed by own time.

Only processor time of the main thread counts: what waits costs nothing. cProfile slows a program
down by about half.
"""

import pstats
import sys
from collections.abc import Sequence
from pathlib import Path

LINES = 30

PROFILED = """
import cProfile, runpy, sys, time
out, sys.argv = sys.argv[1], sys.argv[4:]  # without `python -m`
profile = cProfile.Profile(time.thread_time)
try:
    profile.runcall(runpy.run_module, sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    profile.dump_stats(out)
"""
"""Runs `python -m MODULE …` in its own process; the profile is there once it has ended."""


def profiled(folder: Path, name: str) -> list[str]:
    """What to put before `python -m MODULE …` so that its profile comes to `folder/name`."""
    return [sys.executable, "-c", PROFILED, str(folder / name)]


def top(paths: Sequence[Path]) -> tuple[str, ...]:
    """The functions that took most time of their own, over several processes of a program."""
    stats = pstats.Stats(str(paths[0]))
    for path in paths[1:]:
        stats.add(str(path))
    rows = [
        (own_s, calls, _where(file, line, name))
        for (file, line, name), (_, calls, own_s, _, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    all_s = sum(own_s for own_s, _, _ in rows)
    rows.sort(reverse=True)
    return tuple(
        f"{100 * own_s / all_s:4.1f} %  {own_s:6.2f} s  {calls:8,} ×  {where}"
        for own_s, calls, where in rows[:LINES]
    )


def _where(file: str, line: int, name: str) -> str:
    if file == "~":
        return name
    return f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"
