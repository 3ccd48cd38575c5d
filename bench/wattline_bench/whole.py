"""All benchmarks, each in a process of its own, so that none finds what another left behind."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from wattline import exits
from wattline.verbs.run import Outcome


class Run(msgspec.Struct, frozen=True):
    """One benchmark of several."""

    name: str
    is_kept: bool
    """Every budget was kept."""
    took_s: float
    figures: Any
    said: str
    """What it wrote to stderr: missed budgets, or why it failed."""


def measure() -> Iterator[Outcome]:
    """Run every verb of the family, one after the other; the exit status is the worst."""
    from wattline.verbs.bench import VERBS

    status = exits.OK
    for verb in VERBS:
        if len(verb.words) == 2:
            run = _run(verb.words[1])
            status = status if run.is_kept else exits.FAILED
            yield Outcome(run, status)


def _run(name: str) -> Run:
    began_s = time.monotonic()
    command = [sys.executable, "-m", "wattline", "bench", name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Run(
        name=name,
        is_kept=done.returncode == exits.OK,
        took_s=round(time.monotonic() - began_s, 1),
        figures=msgspec.json.decode(done.stdout) if done.stdout else None,
        said=done.stderr.strip(),
    )
