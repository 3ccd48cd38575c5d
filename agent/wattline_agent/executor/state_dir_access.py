"""Lets other accounts reach their tasks' directories through the state directory.

A state directory created before tasks ran as accounts (`[run_as]`) may deny access to all others
while its content is open, because no account could reach it. So its content is closed first.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from wattline_agent.executor.layout import CHECKPOINTS_DIR, TASKLIB_DIR
from wattline_agent.keeper.spec import TASKS_DIR

PASSED = (TASKS_DIR, CHECKPOINTS_DIR)
"""Directories that accounts traverse as well (0711)."""
CLASSES = ((stat.S_IXGRP, stat.S_IRWXG), (stat.S_IXOTH, stat.S_IRWXO))
"""For a directory's group and for others: the execute bit, and all permission bits."""


def open_passage(state_dir: Path) -> None:
    """Let accounts traverse a state directory that was closed to them; its content stays closed to
    the same accounts. Raises OSError."""
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    denied = sum(everything for search, everything in CLASSES if not mode & search)
    if not denied:
        return
    _close(state_dir, denied, but=(*PASSED, TASKLIB_DIR))
    for name in PASSED:
        _close(state_dir / name, denied)
    state_dir.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _close(folder: Path, denied: int, but: tuple[str, ...] = ()) -> None:
    """Close the content of a directory; deeper levels are closed with it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in but or entry.is_symlink():
                continue
            with suppress(FileNotFoundError):  # removed just now
                mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                if mode & denied:
                    os.chmod(entry.path, mode & ~denied)  # noqa: PTH101 - thousands of them


def closed_to_others(path: Path) -> list[Path]:
    """Directories above it that others may not traverse. Raises OSError."""
    above = reversed(path.resolve().parents)
    return [folder for folder in above if not folder.stat().st_mode & stat.S_IXOTH]
