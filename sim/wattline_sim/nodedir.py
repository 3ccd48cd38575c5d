"""The folder of one simulated node: ``libnvidia-ml.so.1`` and ``nvml.state`` beside each other,
``sysfs/``, ``truth`` and ``node.json``. ``LD_LIBRARY_PATH=DIR any-nvml-client`` sees its GPUs."""

import fcntl
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from wattline_sim import state, statefile
from wattline_sim.driver import build
from wattline_sim.profiles import GpuModel, gpu_model

_SPEC_NAME = "node.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class NodeDirError(ValueError):
    """The folder or what was asked for it cannot be a simulated node."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a simulated node is made of."""

    model: str
    gpus: int
    seed: int
    name: str

    @property
    def gpu_model(self) -> GpuModel:
        """The GPU model by its key."""
        return gpu_model(self.model)


@dataclass(frozen=True, slots=True)
class NodeDir:
    """Where the parts of a simulated node lie."""

    path: Path

    @property
    def library(self) -> Path:
        """The driver library of this node."""
        return self.path / build.LIBRARY_NAME

    @property
    def state_file(self) -> Path:
        """The state file that the library maps."""
        return self.path / statefile.STATE_NAME

    @property
    def sysfs(self) -> Path:
        """The root to read powercap, hwmon and module from, in place of ``/sys``."""
        return self.path / "sysfs"

    @property
    def truth(self) -> Path:
        """The record of true power, see ``wattline_sim.truth``."""
        return self.path / "truth"

    def env(self) -> dict[str, str]:
        """The variable that makes an NVML client in a new process see this node's GPUs."""
        inherited = os.environ.get("LD_LIBRARY_PATH")
        return {"LD_LIBRARY_PATH": f"{self.path}:{inherited}" if inherited else str(self.path)}

    def spec(self) -> NodeSpec:
        """Read ``node.json``; raises NodeDirError when the folder was not prepared."""
        path = self.path / _SPEC_NAME
        try:
            raw = json.loads(path.read_text())
            return NodeSpec(raw["model"], int(raw["gpus"]), int(raw["seed"]), raw["name"])
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise NodeDirError(f"{self.path} is not a prepared simulated node: {error!r}") from None


def node_dir(directory: Path) -> NodeDir:
    """The node in that folder, with its path made absolute and free of links."""
    return NodeDir(directory.resolve())


def prepare(
    directory: Path, *, model: str, gpus: int, seed: int, name: str, cache: Path | None = None
) -> NodeDir:
    """Make ``directory`` a simulated node: library, fresh state, empty truth.

    A state file that clients still map is replaced by a new inode, never truncated. Raises
    NodeDirError, UnknownNameError, StateFileError or BuildError with what to change.
    """
    if _NAME.fullmatch(name) is None:
        raise NodeDirError(f"node name {name!r}: use 1-63 letters, digits, '.', '_' or '-'")
    fresh = statefile.new_state(gpu_model(model), gpus, seed, name)
    built = build.library(cache)
    directory.mkdir(parents=True, exist_ok=True)
    node = node_dir(directory)
    with take_lock(node):
        _fill(node, NodeSpec(model, gpus, seed, name), fresh, built)
    return node


def take_lock(node: NodeDir) -> IO[bytes]:
    """Claim the folder until the file is closed; NodeDirError if it is being simulated."""
    file = (node.path / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise NodeDirError(f"{node.path} is already being simulated by another process") from None
    return file


def _fill(node: NodeDir, spec: NodeSpec, fresh: state.State, built: Path) -> None:
    # A copy, not a link: one inode per node, so that one process may load several nodes.
    temporary = node.path / f".{build.LIBRARY_NAME}.{os.getpid()}"
    shutil.copyfile(built, temporary)
    temporary.replace(node.library)
    (node.path / _SPEC_NAME).write_text(json.dumps(asdict(spec)))
    for old in (node.truth, node.truth.with_suffix(".1")):
        old.unlink(missing_ok=True)
    node.sysfs.mkdir(exist_ok=True)
    statefile.write_new(node.state_file, fresh)
