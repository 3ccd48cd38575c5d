"""Simulated hardware, and the simulation of a whole fleet."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome


class SimNode(msgspec.Struct, frozen=True):
    """A simulated node that can be looked at."""

    name: str
    directory: str
    model: str
    gpus: int
    sysfs_root: str


class SeedRun(msgspec.Struct, frozen=True):
    """One run of the fleet simulation, or why it failed."""

    seed: int
    virtual_s: float = 0.0
    jobs: int = 0
    attempts: int = 0
    faults: int = 0
    messages: int = 0
    lost: int = 0
    checks: int = 0
    failure: str = ""


def node(
    *, gpus: int, model: str, name: str, seed: int, directory: str | None
) -> Iterator[SimNode]:
    """Tells of the node, then simulates it until SIGINT or SIGTERM."""
    from wattline_sim.node import NodeDirError, prepare, serve
    from wattline_sim.profiles import UnknownNameError
    from wattline_sim.statefile import StateFileError

    folder = Path(directory or tempfile.mkdtemp(prefix="wattline-sim-"))
    try:
        made = prepare(folder, model=model, gpus=gpus, seed=seed, name=name)
        yield SimNode(
            name, str(made.path), made.spec().gpu_model.display_name, gpus, str(made.sysfs)
        )
        serve([folder])
    except (NodeDirError, StateFileError, UnknownNameError) as error:
        raise ActFailed(str(error), exits.USAGE) from error
    finally:
        if directory is None:
            shutil.rmtree(folder)


def seeds(*, seed: int | None, count: int, first: int) -> Iterator[Outcome]:
    """One run a seed; the exit code says whether all held."""
    from wattline_sim.fleet.run import SeedFailed, run_seed

    status = exits.OK
    for number in [seed] if seed is not None else range(first, first + count):
        try:
            run = msgspec.convert(run_seed(number), SeedRun, from_attributes=True)
        except SeedFailed as failure:
            run, status = SeedRun(seed=number, failure=str(failure)), exits.FAILED
        yield Outcome(run, status)
