"""Jobs of the demo: job files, as a user would write them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from wattline.demo import recorded

TRAINING = "digits-training"
SWEEP = "digits-sweep"
SERVICE = "digits"

TRAINING_EPOCHS = 12
TRAINING_AT_LEAST_S = 28
"""It runs this long, so that all faults find it running, however fast the machine is."""

SWEEP_TASKS = 16
SWEEP_EPOCHS = 40
REPLICAS = 2

_RECORDED = Path(recorded.__file__).resolve()


def write_training(folder: Path, starts: Path) -> Path:
    """A data-parallel job: one process on each of two exclusively allocated hosts."""
    options = ("--epochs", str(TRAINING_EPOCHS), "--at-least-s", str(TRAINING_AT_LEAST_S))
    command = _recorded(starts, "wattline_examples.train_digits", *options)
    return _write(
        folder / "training.toml",
        f"""name = "{TRAINING}"
kind = "training"
command = {_toml_list(command)}
priority = "high"
account = "vision"

[resources]
nodes = 2
gpus_per_node = 8

[launch]
how = "torchrun"
procs_per_node = 1

[recovery]
retries = 2
checkpoint_every = "5s"
grace = "10s"

[env]
WATTLINE_SIM_PROFILE = "training-hot"
""",
    )


def write_sweep(folder: Path, starts: Path) -> Path:
    """An array: each task is one point of a hyper-parameter sweep, with one GPU."""
    command = [
        sys.executable,
        *_recorded(starts, "wattline_examples.sweep_digits", "--epochs", str(SWEEP_EPOCHS)),
    ]
    return _write(
        folder / "sweep.toml",
        f"""name = "{SWEEP}"
kind = "batch"
command = {_toml_list(command)}
array = "0-{SWEEP_TASKS - 1}"
account = "vision"

[resources]
gpus_per_node = 1

[recovery]
retries = 2

[env]
WATTLINE_SIM_PROFILE = "batch"
OPENBLAS_NUM_THREADS = "1"
OMP_NUM_THREADS = "1"
""",
    )


def write_service(folder: Path, starts: Path, checkpoints: Path) -> Path:
    """Two replicas of a worker that serves the newest checkpoint in `checkpoints`."""
    model = "wattline_examples.serve_digits:Digits"
    module = ("wattline_runtime.serve", "--model", model, "--arg", f"checkpoints={checkpoints}")
    command = [sys.executable, *_recorded(starts, *module)]
    return _write(
        folder / "service.toml",
        f"""name = "{SERVICE}"
kind = "service"
command = {_toml_list(command)}
account = "web"

[resources]
gpus_per_node = 2

[service]
replicas = {REPLICAS}

[recovery]
grace = "5s"

[env]
WATTLINE_SIM_PROFILE = "decode"
""",
    )


def _recorded(starts: Path, *module: str) -> list[str]:
    return [str(_RECORDED), str(starts), *module]


def write_job(path: Path, name: str, kind: str, command: Sequence[str], more: str) -> Path:
    """A job file; `more` has its other keys and tables."""
    head = f'name = "{name}"\nkind = "{kind}"\ncommand = {_toml_list(command)}\n'
    return _write(path, head + more)


def _toml_list(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
