"""Group commit: what one step decided goes to disk in one transaction, and some of it later.

Theory. A thousand nodes acknowledge a lowered budget within a second, each at a moment of its own;
an fsync for each would be most of the scheduler's work. An acknowledgement tells nobody anything:
what it frees is used by later leases, and their transaction takes it along, in order. So a step
that only changed books and only answers beats may wait a moment for company. A crash meanwhile
leaves the larger lease on record, which is the safe side (I3, I9). Nor need a start wait for the
acknowledgement that allows it: attempt and growth are on record since the placement (I9), and a
step that saves anything but books commits at once.
"""

from collections.abc import Sequence

from wattline_protocol.ids import Instant
from wattline_protocol.wire.agent_messages import BeatSeen, StartTask
from wattline_scheduler.core.model.effects import Effect, Save, Send
from wattline_scheduler.records import BookRecord
from wattline_scheduler.store.record_rows import Storable
from wattline_scheduler.store.store import Store

WAIT_S = 0.2
"""Longest that acknowledgements wait for company: those of a whole cut share a few transactions."""

MAX_WAITING = 1_000
"""Records that wait at most; then they are committed whatever comes."""


class Commits:
    """Puts saves on disk before what depends on them is sent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Storable] = []
        self._due: Instant | None = None

    @property
    def due(self) -> Instant | None:
        """When what waits must be on disk; None = nothing waits."""
        return self._due

    def take(self, effects: Sequence[Effect], steps: Sequence[Storable], now: Instant) -> None:
        """Commit what these effects and roll-up steps save, or let it wait. Raises StoreError."""
        self._waiting += [effect.record for effect in effects if isinstance(effect, Save)]
        self._waiting += steps
        if not self._waiting:
            return
        if self._due is None:
            self._due = Instant(now + WAIT_S)
        is_full = len(self._waiting) > MAX_WAITING
        if steps or is_full or now >= self._due or not all(may_wait(e) for e in effects):
            self.flush()

    def flush(self) -> None:
        """Commit everything that waits. Raises StoreError."""
        if self._waiting:
            self._store.commit(self._waiting)
            self._waiting = []
        self._due = None


def may_wait(effect: Effect) -> bool:
    """Whether nobody learns anything of it before the next transaction."""
    match effect:
        case Save(record=BookRecord()) | Send(message=BeatSeen() | StartTask()):
            return True
        case _:
            return False
