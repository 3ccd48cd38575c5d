"""When a checkpoint is due: by the clock, before an announced interruption, and at a stop."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .stop_notice import stop_requested

NOTICE_PERIOD_S = 0.2
"""Minimum interval of reading the notice file, so that polling in a tight loop is cheap."""
MAX_NOTICE_BYTES = 64 * 1024
FIRST_SAVE_S = 10.0
"""Assumed duration of a save as long as this process has made none."""
SAVE_MARGIN = 1.5
"""A save may take so much longer than the longest so far."""
LEAST_LEAD_S = 1.0
LEAST_EVERY_S, MOST_EVERY_S = 60.0, 3_600.0


@dataclass(frozen=True)
class Notice:
    """What will interrupt this task, when by the clock of its node, and why."""

    what: str
    at_unix_s: float
    why: str
    grace_s: float


def lead_s(save_s: float, gap_s: float) -> float:
    """Time before an interruption at which a save begins, so that one that takes `save_s` ends in
    time where a program asks every `gap_s`."""
    return LEAST_LEAD_S + SAVE_MARGIN * (save_s + gap_s)


class Clock:
    """Saves of this process, and the pace at which it asks whether one is due."""

    def __init__(self) -> None:
        self.begun_s = self.saved_s = time.monotonic()
        """Begin and end of the newest save; at first the start of the process."""
        self.longest_s = 0.0
        """Duration of the longest save; 0 = none was made."""
        self.waited_s = 0.0
        """Longest time for which the program waited for one: of a save in the background its
        copy."""
        self.asked_s: float | None = None
        self.gap_s = 0.0
        """Longest time between two questions outside of a save: a step."""

    def saved(self, begun_s: float, ended_s: float) -> None:
        """A save was published, or its copy was handed to the helper in the background."""
        self.begun_s, self.saved_s = begun_s, ended_s
        self.waited_s = max(self.waited_s, ended_s - begun_s)
        self.longest_s = max(self.longest_s, ended_s - begun_s)
        self.asked_s = None

    def asked(self, now_s: float) -> None:
        """Whether a save is due was asked."""
        if self.asked_s is not None:
            self.gap_s = max(self.gap_s, now_s - self.asked_s)
        self.asked_s = now_s

    def lead_s(self) -> float:
        """How long before an interruption a save begins, so that it ends in time: the program may
        ask one step later."""
        return lead_s(self.longest_s or FIRST_SAVE_S, self.gap_s)

    def is_due_before(self, at_s: float, now_s: float) -> bool:
        """Whether a save must begin now to end before `at_s`, and none has begun since then."""
        from_s = at_s - self.lead_s()
        return now_s >= from_s > self.begun_s


class _NoticeFile:
    """The notice as last read."""

    def __init__(self) -> None:
        self.read_s = -math.inf
        self.newest: Notice | None = None


clock = Clock()
_file = _NoticeFile()


def notice() -> Notice | None:
    """What will interrupt this task, as far as Wattline knows now; None = nothing."""
    path, now_s = os.environ.get("WATTLINE_NOTICE_FILE", ""), time.monotonic()
    if not path:
        return None
    if now_s - _file.read_s >= NOTICE_PERIOD_S:
        _file.read_s, _file.newest = now_s, _read(Path(path))
    return _file.newest


def _read(path: Path) -> Notice | None:
    """None also for a file that is no notice: an older agent writes a sentence."""
    try:
        with path.open("rb") as file:
            line = json.loads(file.read(MAX_NOTICE_BYTES))
        return Notice(
            str(line["what"]), float(line["at_unix_s"]), str(line["why"]), float(line["grace_s"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _every_s() -> float:
    """Interval of saves; 0 = none. With `checkpoint_every = "auto"` by what saves cost so
    far: Young's, as the scheduler has it (`plan/learning/checkpoint_interval.py`)."""
    free_s = float(os.environ.get("WATTLINE_FAILURE_FREE_S", "") or 0)
    if free_s > 0 and clock.waited_s > 0:
        best_s = math.sqrt(2 * clock.waited_s * free_s)
        return min(MOST_EVERY_S, max(LEAST_EVERY_S, clock.longest_s, best_s))
    return float(os.environ.get("WATTLINE_CHECKPOINT_EVERY_S", "") or 0)


def should_checkpoint() -> bool:
    """True: a stop was requested, WATTLINE_CHECKPOINT_EVERY_S have passed since the last save, or
    what a notice announces comes so soon that a save has to begin now to end before it.

    Without that variable and without notices only a stop makes it true. In a gang one process
    should call it and notify the others: each has a clock of its own.
    """
    now_s = time.monotonic()
    clock.asked(now_s)
    every_s = _every_s()
    is_due = every_s > 0 and now_s - clock.saved_s >= every_s
    ahead = notice()
    if ahead is not None:
        at_s = now_s + ahead.at_unix_s - time.time()
        is_due = is_due or clock.is_due_before(at_s, now_s)
    return is_due or stop_requested()
