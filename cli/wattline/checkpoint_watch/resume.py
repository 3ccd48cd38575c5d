"""Which checkpoint an attempt resumes from: the newest that is complete and intact."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wattline.task.environment import Identity
from wattline.task.outcome import log, note_rejected

from .found import MAX_FILES, Entry, Found, Unreadable, every_path, matches, read, step_of
from .records import UNUSABLE, Record, Records, difference
from .settling import REST_S, Settling

MEET_WITHIN_S = 3600.0
"""How long a node waits for the choice of the first one, which reads the whole checkpoint."""
POLL_S = 0.1
MAX_LISTED = 2 * MAX_FILES
"""Older checkpoints than those are not looked at again."""
MAX_NAMES = 5
"""Named in the log."""
MAX_CHOICE_BYTES = 64 * 1024


class NoneIntact(Exception):
    """There are checkpoints, and none can be used; the text has the reason of each."""


Entries = tuple[Entry, ...]


def all_found(pattern: str) -> list[Found]:
    """The matches that can be read now, the newest first, up to `MAX_LISTED` files."""
    found: list[Found] = []
    count = 0
    for path in matches(pattern):
        with contextlib.suppress(Unreadable):
            found.append(read(os.path.abspath(path)))  # noqa: PTH100 - links stay as they are
            count += len(found[-1].entries)
        if count > MAX_LISTED:
            break
    return found


def adopt(
    pattern: str,
    records: Records,
    *,
    has_run_before: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Records for what a directory holds that has no records yet. Raises OSError.

    It was there before the job, and is complete when it is at rest. Where there are records, or an
    attempt has run, a match without one may be what a killed program has left.
    """
    unknown = [] if has_run_before or not records.is_new else all_found(pattern)
    if not unknown:
        return
    settling = Settling()
    settling.at_rest(unknown, 0.0)
    if time.time_ns() - max(one.newest_ns for one in unknown) < REST_S * 1e9:
        sleep(REST_S)
    at_rest = settling.at_rest(all_found(pattern), REST_S)
    for one in sorted(at_rest, key=lambda one: (one.newest_ns, step_of(one.path))):
        records.put(Record(one.path, step_of(one.path), one.entries))


def left_over(pattern: str, records: Records) -> dict[str, Entries]:
    """Matches that are not as any record says: parts, and damaged ones, as long as they stay so."""
    left = {one.path: one.entries for one in all_found(pattern) if records.of(one) is None}
    unknown = sorted(path for path in left if not records.has(path))
    if unknown:
        more = f" and {len(unknown) - MAX_NAMES} more" if len(unknown) > MAX_NAMES else ""
        log(f"not known to be complete, passed over: {', '.join(unknown[:MAX_NAMES])}{more}")
    return left


@dataclass(frozen=True)
class Choice:
    """What to resume from, and what was passed over for it, the newest first."""

    record: Record | None
    rejected: tuple[tuple[Record, str], ...]

    def note_rejected(self) -> None:
        """In the log, and to the agent: the newest last, as the agent keeps the last one."""
        for record, why in reversed(self.rejected):
            note_rejected(record.step, why)

    def check(self, root: Path, saved_step: int | None) -> None:
        """Raises NoneIntact: nothing begins again at step 0 by accident.

        `saved_step`: of the newest checkpoint that the job is known to have; None = none.
        """
        if self.record is not None or (not self.rejected and saved_step is None):
            return
        reasons = [f"{os.path.relpath(one.path, root)}: {why}" for one, why in self.rejected]
        if not reasons:
            reasons = [f"that of step {saved_step} is gone; is the file system mounted?"]
        raise NoneIntact(
            f"no checkpoint in {root} can be used ({'; '.join(reasons)}). "
            "wattline requeue --from-scratch JOB starts from step 0"
        )


def choose(pattern: str, records: Records) -> Choice:
    """The newest match that is intact. Jobs of other patterns may save in the same directory."""
    rejected: list[tuple[Record, str]] = []
    paths = every_path(pattern)
    for record in (one for one in records.all() if one.path in paths):
        why = _why_not(record)
        if not why:
            return Choice(record, tuple(rejected))
        rejected.append((record, why))
    return Choice(None, tuple(rejected))


def _why_not(record: Record) -> str:
    try:
        return difference(record, read(record.path))
    except Unreadable as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror}: {os.path.basename(error.filename or record.path)}"  # noqa: PTH119


def announce(records: Records, me: Identity, site: str, chosen: Record | None) -> None:
    """For the other nodes of a gang. Raises OSError.

    `site`: names it among all, since another one may number a job of the same directory alike.
    """
    path = None if chosen is None else os.path.relpath(chosen.path, records.root)
    records.folder.mkdir(parents=True, exist_ok=True)
    file = _choice_file(records.folder, me, site)
    beside = file.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"attempt": me.attempt, "path": path}), encoding="utf-8")
    beside.rename(file)


def await_choice(records: Records, me: Identity, site: str) -> str | None:
    """The path that the first node has chosen; None: none. Raises TimeoutError."""
    until_s = time.monotonic() + MEET_WITHIN_S
    while time.monotonic() < until_s:
        with contextlib.suppress(*UNUSABLE):
            with _choice_file(records.folder, me, site).open("rb") as file:
                choice = json.loads(file.read(MAX_CHOICE_BYTES))
            if choice["attempt"] == me.attempt:
                path = choice["path"]
                return None if path is None else str(records.root / path)
        time.sleep(POLL_S)
    raise TimeoutError(
        f"the first node of the gang has not named a checkpoint in {records.folder} within "
        f"{MEET_WITHIN_S:.0f} s: recovery.checkpoints of several nodes needs a directory that all "
        "of them mount"
    )


def _choice_file(folder: Path, me: Identity, site: str) -> Path:
    return folder / f"choice-of-job-{me.job}-of-site-{site}.json"
