"""API for programs that run as a Wattline task: checkpoints, metrics, stop notice.

    from wattline import task

    with task.stoppable():
        checkpoint = task.latest()
        step = restore(checkpoint.path) if checkpoint else 0
        for step in range(step + 1, 1000):
            loss = train_one_step()
            task.metric(step=step, loss=loss)
            if task.should_checkpoint():
                with task.saving(step) as path:
                    torch.save(state, path)
            task.safe_point()  # ends the program here, in order, once a stop was requested

Standard library only, one folder, Python 3.9 or later: it needs no installation in the environment
of the program, and works from wherever the folder is copied to. Outside Wattline it works too and
stores everything below `./.wattline`.

A checkpoint is a directory `SAVE-step-STEP` with the saved data (`data`, a file or a directory) and
`manifest.jsonl` (size and digest of each file). It appears by one rename after everything in it
has reached the disk, so a crash at any time leaves the older ones unchanged. `SAVE` counts the
saves: the newest checkpoint is the one saved last, also after a return to an earlier step.
"""

from .data_sets import data_path
from .directory import checkpoint_dir
from .due import Notice, notice, should_checkpoint
from .environment import Identity, gpu_memory_limit_bytes, gpu_share, identity
from .gang_saves import GANG_TIMEOUT_S, gang_saving
from .manifest import CheckpointError
from .metrics import heartbeat, metric, parameters, progress
from .saves import (
    Checkpoint,
    Rejected,
    checkpoints,
    latest,
    save,
    saving,
    wait_saved,
)
from .stacks import register_stacks
from .steps import waited, waiting
from .stop_notice import StopRequested, safe_point, stop_requested, stoppable

__all__ = [
    "GANG_TIMEOUT_S",
    "Checkpoint",
    "CheckpointError",
    "Identity",
    "Notice",
    "Rejected",
    "StopRequested",
    "checkpoint_dir",
    "checkpoints",
    "data_path",
    "gang_saving",
    "gpu_memory_limit_bytes",
    "gpu_share",
    "heartbeat",
    "identity",
    "latest",
    "metric",
    "notice",
    "parameters",
    "progress",
    "safe_point",
    "save",
    "saving",
    "should_checkpoint",
    "stop_requested",
    "stoppable",
    "wait_saved",
    "waited",
    "waiting",
]

register_stacks()
