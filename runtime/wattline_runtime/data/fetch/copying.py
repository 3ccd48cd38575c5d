"""Checkpoints that the node copies into the store: the list of the scheduler, worked off.

Each copy has a child in the account of the job's owner. A user has one copy at a time, so that a
store that hangs delays no other user. A failure is tried again after 1 s, 2 s and so on up to a
minute, whatever it is: training continues meanwhile, and a key may be replaced.
"""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from msgspec.structs import replace

from wattline_protocol.wire.agents.data_messages import CheckpointsStored, CheckpointsToStore
from wattline_runtime.data.fetch.changed import Changed
from wattline_runtime.data.fetch.frames import ReadFailed
from wattline_runtime.data.fetch.opening import opening_of
from wattline_runtime.data.fetch.turns import THREADS, Turn, retry_s, take_turn
from wattline_runtime.data.fetch.writer import StoreWriter
from wattline_runtime.data.fetch.writing import CheckpointCopied, CopyCheckpoint

MAX_DETAIL_CHARS = 500


@dataclass(slots=True)
class _Item(Turn):
    """The checkpoints of one job."""

    order: CheckpointsToStore
    stored: CheckpointsStored
    is_done: bool = False
    """As the order says, as far as there was anything to do."""

    @property
    def user(self) -> str:
        return self.order.user


class Copying:
    """The list. `changed` is called from any thread."""

    def __init__(self, changed: Changed, rate_bytes_s: int) -> None:
        self._changed, self._rate_bytes_s = changed, rate_bytes_s
        self._state = threading.Condition()
        self._items: dict[int, _Item] = {}
        self._secrets: Mapping[str, bytes] = {}
        self._busy: Counter[str] = Counter()
        """Copies under way by user."""
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"copy-{number}", daemon=True).start()

    def obey(self, orders: tuple[CheckpointsToStore, ...], secrets: Mapping[str, bytes]) -> None:
        """Replace the list."""
        with self._state:
            before = self._items
            self._items = {one.job: _continued(before.get(one.job), one) for one in orders}
            for item in self._items.values():
                name = item.order.opened_by
                if secrets.get(name) != self._secrets.get(name):
                    item.due_s = 0.0
            self._secrets = secrets
            self._state.notify_all()

    def report(self) -> tuple[CheckpointsStored, ...]:
        """The whole state."""
        with self._state:
            return tuple(item.stored for item in self._items.values())

    def _work(self) -> None:
        while True:
            self._copy(self._take())

    def _take(self) -> _Item:
        """The next that is due, of a user without a copy under way."""
        with self._state:
            return take_turn(self._state, self._waiting, self._busy, 1)

    def _waiting(self) -> Iterator[_Item]:
        return (one for one in self._items.values() if not one.is_done)

    def _copy(self, item: _Item) -> None:
        with self._state:
            order, secrets = item.order, self._secrets
        copied: CheckpointCopied | None = None
        try:
            copied, detail = _copied(order, secrets, self._rate_bytes_s), ""
        except ReadFailed as error:
            detail = error.text
        except Exception as error:  # the others go on
            traceback.print_exc()
            detail = f"the fetch process has a fault: {error!r}"
        with self._state:
            self._note(item, order, copied, detail)
            item.is_taken = False
            self._busy[order.user] -= 1
            self._state.notify_all()
        self._changed(is_urgent=True)

    def _note(
        self, item: _Item, order: CheckpointsToStore, copied: CheckpointCopied | None, detail: str
    ) -> None:
        if copied is None:
            item.due_s = time.monotonic() + retry_s(item.tries)
            item.tries += 1
            item.stored = replace(item.stored, detail=detail[:MAX_DETAIL_CHARS])
            return
        item.tries, item.due_s = 0, 0.0
        item.is_done = _is_same_work(item.order, order)
        item.stored = CheckpointsStored(
            order.job,
            order.attempt,
            copied.newest,
            copied.behind,
            copied.left[:MAX_DETAIL_CHARS],
            order.saved_unix_s,
            order.is_last,
        )


def _copied(
    order: CheckpointsToStore, secrets: Mapping[str, bytes], rate_bytes_s: int
) -> CheckpointCopied:
    wish = CopyCheckpoint(
        f"{order.root}/{order.job}", order.prefix, order.attempt, order.recorded, rate_bytes_s
    )
    with closing(StoreWriter(opening_of(order, secrets))) as writer:
        return writer.copy_checkpoint(wish)


def _continued(before: _Item | None, order: CheckpointsToStore) -> _Item:
    """The item of a job that was on the list before, with what it is to do now."""
    if before is None or before.order.attempt != order.attempt:
        return _Item(order, CheckpointsStored(order.job, order.attempt))
    before.is_done = before.is_done and _is_same_work(before.order, order)
    before.order = order
    return before


def _is_same_work(one: CheckpointsToStore, other: CheckpointsToStore) -> bool:
    """Whether one copy does both: what is on record may differ, which is the outcome of it."""
    return replace(one, recorded=None) == replace(other, recorded=None)
