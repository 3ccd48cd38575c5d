"""All benchmarks, each in a process of its own, so that none finds what another left behind."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from wattline import exits
from wattline.verbs.run import Outcome
from wattline_bench.rig.sigterm import exit_at_sigterm


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
    status, figures, said = _ended(command)
    return Run(
        name=name,
        is_kept=status == exits.OK,
        took_s=round(time.monotonic() - began_s, 1),
        figures=msgspec.json.decode(figures) if figures else None,
        said=said.strip(),
    )


def _ended(command: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a program; it gets SIGTERM where this process does."""
    with (
        exit_at_sigterm(),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program,
    ):
        try:
            out, err = program.communicate()
        except BaseException:
            program.terminate()  # its own programs end with it; the block waits for it
            raise
    return program.returncode, out, err
