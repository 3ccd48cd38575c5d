"""Simulates one node until it is stopped."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wattline import exits
from wattline.failures import ActFailed


class SimNode(msgspec.Struct, frozen=True):
    """A simulated node and where to find it."""

    name: str
    directory: str
    model: str
    gpus: int
    sysfs_root: str


def node(
    *, gpus: int, model: str, name: str, seed: int, directory: str | None, mig: tuple[str, ...]
) -> Iterator[SimNode]:
    """Reports the node, then simulates it until SIGINT or SIGTERM."""
    from wattline_sim.control import ControlError, partition
    from wattline_sim.node import NodeDirError, prepare, serve
    from wattline_sim.profiles import UnknownNameError
    from wattline_sim.statefile import StateFileError

    folder = Path(directory or tempfile.mkdtemp(prefix="wattline-sim-"))
    try:
        made = prepare(folder, model=model, gpus=gpus, seed=seed, name=name)
        for gpu, profiles in map(_partition, mig):
            partition(folder, gpu, profiles)
        yield SimNode(
            name, str(made.path), made.spec().gpu_model.display_name, gpus, str(made.sysfs)
        )
        serve([folder])
    except (ControlError, NodeDirError, StateFileError, UnknownNameError) as error:
        raise ActFailed(str(error), exits.USAGE) from error
    finally:
        if directory is None:
            shutil.rmtree(folder)


def _partition(text: str) -> tuple[int, list[str]]:
    """The value of `--mig`: a GPU and its instances, if any."""
    gpu, equals, profiles = text.partition("=")
    if not equals or not gpu.isdecimal():
        raise ActFailed(
            f'--mig: expected GPU=PROFILES, as in 0=3g.40gb,3g.40gb, not "{text}"', exits.USAGE
        )
    return int(gpu), [word.strip() for word in profiles.split(",") if word.strip()]
