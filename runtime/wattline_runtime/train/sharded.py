"""Checkpoints of models that no single rank holds: each rank writes and reads its own shards.

The format is that of `torch.distributed.checkpoint`: a checkpoint of one number of ranks is read by
another number, because shards are found by their position in the whole tensor.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from wattline import task
from wattline_runtime.train.state import agreed


def save_sharded(
    step: int,
    state: dict[str, Any],
    *,
    keep: int = 3,
    keep_every: int = 0,
    timeout_s: float = task.GANG_TIMEOUT_S,
) -> None:
    """Every rank of the gang calls it with its part of `state`; see `task.gang_saving`."""
    saving = task.gang_saving(step, keep=keep, keep_every=keep_every, timeout_s=timeout_s)
    with saving as path, _alone():
        save(state, storage_writer=FileSystemWriter(path, sync_files=False))


def load_sharded(state: dict[str, Any], *, from_scratch: bool | None = None) -> int:
    """Fill the tensors of `state` from the newest intact checkpoint, and return its step; 0 if
    there is none. The number of ranks may differ from that which saved it."""
    found = agreed(lambda: task.latest(fits=_why_not, from_scratch=from_scratch))
    if found is None:
        return 0
    with _alone():
        load(state, storage_reader=FileSystemReader(found.path))
    return found.step


@contextmanager
def _alone() -> Iterator[None]:
    """A single process is a gang of one: torch's warning that it is alone says nothing new."""
    with warnings.catch_warnings():
        if not dist.is_initialized():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _why_not(found: task.Checkpoint) -> str:
    return "" if Path(found.path, ".metadata").is_file() else "it is no sharded checkpoint"
