"""The way of other accounts to their tasks' directories, which leads through the state directory.

One that was made before tasks ran as accounts (`[run_as]`) may be closed to all others, and what
lies in it open, for nobody could get there. So what lies in it is closed first.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from wattline_agent.executor.layout import CHECKPOINTS_DIR, TASKLIB_DIR
from wattline_agent.keeper.spec import TASKS_DIR

PASSED = (TASKS_DIR, CHECKPOINTS_DIR)
"""Directories that are passed through themselves (0711)."""
CLASSES = ((stat.S_IXGRP, stat.S_IRWXG), (stat.S_IXOTH, stat.S_IRWXO))
"""Of a directory's group and of others: what lets them through, and all that they may have."""


def open_passage(state_dir: Path) -> None:
    """Let accounts through a state directory that was closed to them; what lies in it stays closed
    to whom it was. Raises OSError."""
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    denied = sum(everything for search, everything in CLASSES if not mode & search)
    if not denied:
        return
    _close(state_dir, denied, but=(*PASSED, TASKLIB_DIR))
    for name in PASSED:
        _close(state_dir / name, denied)
    state_dir.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _close(folder: Path, denied: int, but: tuple[str, ...] = ()) -> None:
    """What lies in a directory; what lies deeper is closed with it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in but or entry.is_symlink():
                continue
            with suppress(FileNotFoundError):  # removed just now
                mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                if mode & denied:
                    os.chmod(entry.path, mode & ~denied)  # noqa: PTH101 - thousands of them


def closed_to_others(state_dir: Path) -> list[Path]:
    """Directories that others may not pass through on the way to it. Raises OSError."""
    above = reversed(state_dir.resolve().parents)
    return [folder for folder in above if not folder.stat().st_mode & stat.S_IXOTH]
