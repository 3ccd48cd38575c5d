"""What the scheduler has on disk, read beside it: asking it would cost what is being measured."""

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple, Self

from wattline_bench.rig.site import LOOK_S

PATIENCE_S = 120.0
"""Longest that nothing may happen."""


class Times(NamedTuple):
    """When an attempt was placed and its process forked, Unix seconds."""

    placed: float
    started: float


class Record:
    """The store, opened to read."""

    def __init__(self, state_dir: Path) -> None:
        uri = f"file:{state_dir / 'wattline.db'}?mode=ro"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None)

    def ended(self, after: int) -> int:
        """Gangs of jobs numbered above `after` that have ended, whatever came of them."""
        sql = "SELECT count(*) FROM gangs WHERE job > ? AND phase = 'ended'"
        return int(self._db.execute(sql, (after,)).fetchone()[0])

    def failed(self) -> int:
        """Gangs that did not complete."""
        sql = "SELECT count(*) FROM gangs WHERE phase = 'ended' AND outcome != 'COMPLETED'"
        return int(self._db.execute(sql).fetchone()[0])

    def newest(self) -> int:
        """The newest job; 0 = none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()[0])

    def wait_ended(self, after: int, count: int, look_s: float = LOOK_S) -> None:
        """Until so many gangs above `after` have ended. Raises RuntimeError where they stop to."""
        seen, since_s = 0, time.monotonic()
        while (now := self.ended(after)) < count:
            if now > seen:
                seen, since_s = now, time.monotonic()
            if time.monotonic() - since_s > PATIENCE_S:
                raise RuntimeError(f"{now} of {count} have ended, no more for {PATIENCE_S:g} s")
            time.sleep(look_s)

    def times(self, job: int) -> Times:
        """Of a job's newest attempt."""
        sql = "SELECT placed_unix_s, started_unix_s FROM attempts WHERE job = ? ORDER BY attempt"
        return Times(*self._db.execute(sql, (job,)).fetchall()[-1])

    def where(self, job: int) -> tuple[str, str]:
        """The node of a job's newest attempt, and the attempt's name there."""
        sql = "SELECT node, task, attempt FROM attempts WHERE job = ? ORDER BY attempt"
        node, task, attempt = self._db.execute(sql, (job,)).fetchall()[-1]
        return node, f"{job}.{task}.{attempt}"

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
