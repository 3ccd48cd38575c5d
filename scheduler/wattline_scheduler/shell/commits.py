"""Group commit: the decisions of a step are committed in one transaction, some of them later.

Theory. A thousand nodes acknowledge a lowered budget within a second, each at a different moment;
an fsync for each would be most of the scheduler's work. No other party depends on an
acknowledgement: the watts it frees are used by later leases, whose transaction includes it, in
order. So a step that only changed books and only answers beats may wait briefly for others. A crash
meanwhile leaves the larger lease on record, which is the safe side (I3, I9). Nor need a start wait
for the acknowledgement that allows it: attempt and growth are on record since the placement (I9),
and a step that saves anything but books commits at once.
"""

from collections.abc import Sequence

from wattline_protocol.ids import Instant
from wattline_protocol.wire.agent_messages import BeatSeen, StartTask
from wattline_scheduler.core.model.effects import Effect, Save, Send
from wattline_scheduler.records import BookRecord
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

WAIT_S = 0.2
"""Longest delay of acknowledgements: those of a whole cut share a few transactions."""

MAX_WAITING = 1_000
"""Maximum of delayed records; beyond it they are committed."""


class Commits:
    """Puts saves on disk before what depends on them is sent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Storable] = []
        self._due: Instant | None = None

    @property
    def due(self) -> Instant | None:
        """When delayed records must be on disk; None = there are none."""
        return self._due

    def take(self, effects: Sequence[Effect], steps: Sequence[Storable], now: Instant) -> None:
        """Commit the saves of these effects and roll-up steps, or delay them. Raises StoreError."""
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
        """Commit all delayed records. Raises StoreError."""
        if self._waiting:
            self._store.commit(self._waiting)
            self._waiting = []
        self._due = None


def may_wait(effect: Effect) -> bool:
    """Whether no other party learns of the effect before the next transaction."""
    match effect:
        case Save(record=BookRecord()) | Send(message=BeatSeen() | StartTask()):
            return True
        case _:
            return False
