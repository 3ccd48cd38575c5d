"""Outputs of attempts that succeeded, on their way into the stores of their data sets.

The agent sends the whole list. An output is tried until it is in its store or can never be a
version; what else fails is tried again after 1 s, 2 s and so on up to a minute. What is stored is
looked at again for another mark of the registry, since some of its objects may have been deleted.
"""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.agents.data_messages import (
    FetchOrder,
    OutputNow,
    OutputState,
    OutputToPublish,
    StoredOutput,
)
from wattline_runtime.data.fetch.changed import Changed
from wattline_runtime.data.fetch.frames import ReadFailed
from wattline_runtime.data.fetch.opening import opening_of
from wattline_runtime.data.fetch.turns import THREADS, Turn, retry_s, take_turn
from wattline_runtime.data.fetch.writer import StoreWriter
from wattline_runtime.data.fetch.writing import Beat, FolderRead, ReadFolder

MOST_OF_USER = 2
"""Outputs published at a time for one user: its stores may all hang."""
OUTPUT_SUFFIX = "output"
MAX_DETAIL_CHARS = 500


@dataclass(slots=True)
class _Item(Turn):
    """One output on the list."""

    order: OutputToPublish
    state: OutputState = "waiting"
    detail: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    stored: StoredOutput | None = None
    is_dropped: bool = False
    """It is no longer on the list: its job was cancelled, or queued again."""
    writer: StoreWriter | None = None
    """While it is published."""

    @property
    def user(self) -> str:
        return self.order.user

    @property
    def is_open(self) -> bool:
        """Whether there is something to do: nothing while objects are deleted from its store."""
        return self.state in ("waiting", "publishing") and bool(
            self.order.as_of or self.order.equals
        )

    def drop(self) -> None:
        """Publish it no further."""
        self.is_dropped = True
        if self.writer is not None:
            self.writer.stop()

    def now(self) -> OutputNow:
        """As it is reported."""
        numbers = (self.done_bytes, self.total_bytes)
        return OutputNow(self.order.ref, self.state, *numbers, self.detail, self.stored)


@dataclass(slots=True)
class Outputs:
    """The list and the threads. `changed` is called from any of them."""

    changed: Changed
    rate_bytes_s: int = 0
    """Into a store, of each child; 0 = no limit."""
    _state: threading.Condition = field(default_factory=threading.Condition)
    """Guards the items."""
    _items: dict[TaskRef, _Item] = field(default_factory=dict)
    _secrets: Mapping[str, bytes] = field(default_factory=dict)
    _tasks_dir: str = ""
    _busy: Counter[str] = field(default_factory=Counter)
    """Threads by user."""
    _is_begun: bool = False

    def obey(self, order: FetchOrder) -> None:
        """Replace the list."""
        with self._state:
            before, self._tasks_dir = self._items, order.tasks_dir
            self._items = {
                one.ref: _continued(before.get(one.ref), one) for one in order.hold.outputs
            }
            for ref in before.keys() - self._items.keys():
                before[ref].drop()
            for item in self._items.values():
                opened_by = item.order.opened_by
                if opened_by and order.secrets.get(opened_by) != self._secrets.get(opened_by):
                    item.due_s = 0.0
            self._secrets = order.secrets
            self._state.notify_all()
        if self._items and not self._is_begun:
            self._is_begun = True
            for number in range(THREADS):
                threading.Thread(target=self._work, name=f"publish-{number}", daemon=True).start()

    def report(self) -> tuple[OutputNow, ...]:
        """How far each is."""
        with self._state:
            return tuple(item.now() for item in self._items.values())

    # --- Threads ------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            item = self._take()
            try:
                self._publish(item)
            finally:
                with self._state:
                    self._busy[item.user] -= 1
                    item.is_taken, item.writer = False, None
                    self._state.notify_all()
                self.changed(is_urgent=True)

    def _take(self) -> _Item:
        with self._state:
            return take_turn(self._state, self._waiting, self._busy, MOST_OF_USER)

    def _waiting(self) -> Iterator[_Item]:
        return (one for one in self._items.values() if one.is_open)

    def _publish(self, item: _Item) -> None:
        try:
            self._try(item)
        except ReadFailed as error:
            self._failed(item, error)
        except Exception as error:  # the thread goes on: one output stops no other
            traceback.print_exc()
            self._put_off(item, f"the fetch process has a fault: {error!r}")

    def _try(self, item: _Item) -> None:
        """Raises ReadFailed."""
        order = item.order
        opening, ref = opening_of(order, self._secrets), order.ref
        attempt = f"{self._tasks_dir}/{ref.job}.{ref.task}.{ref.attempt}"
        folder = f"{attempt}.{OUTPUT_SUFFIX}"
        self._set(item, "publishing")
        with closing(StoreWriter(opening, lambda beat: self._note(item, beat))) as writer:
            self._begin(item, writer)
            read = writer.read_folder(_wish(folder, attempt, order))
            if order.equals is not None:
                self._set(item, "failed" if read.difference else "equal", read.difference)
            else:
                self._put(item, writer, folder, read)

    def _begin(self, item: _Item, writer: StoreWriter) -> None:
        with self._state:
            item.writer = writer
            if item.is_dropped:  # before it had a child
                writer.stop()

    def _put(self, item: _Item, writer: StoreWriter, folder: str, read: FolderRead) -> None:
        with self._state:  # the newest: reading may have taken long
            as_of = item.order.as_of
        if not as_of:
            raise ReadFailed("away", "objects are being deleted from it")
        put = writer.put_folder(folder, rate_bytes_s=self.rate_bytes_s)
        about = (as_of, put.sha256, put.files, put.bytes, put.stored_bytes)
        with self._state:
            item.stored = StoredOutput(*about, read.verdict, read.code)
            item.done_bytes = item.total_bytes = put.bytes
        self._set(item, "stored")

    def _note(self, item: _Item, beat: Beat) -> None:
        with self._state:
            item.done_bytes, item.total_bytes = beat.done_bytes, beat.total_bytes
        self.changed(is_urgent=False)

    def _failed(self, item: _Item, error: ReadFailed) -> None:
        """What is no version never becomes one; all else may pass."""
        match error.why:
            case "unfit":
                self._set(item, "failed", error.text)
            case "missing":
                self._set(item, "gone", error.text)
            case "unsettled":
                self._put_off(item, f"it cannot be read now: {error.text}")
            case "away":
                self._put_off(item, f"its store is away: {error.text}")
            case "locked":
                self._put_off(item, f"its store cannot be opened: {error.text}")
            case _:
                self._put_off(item, f"its store refuses: {error.text}")

    def _set(self, item: _Item, state: OutputState, detail: str = "") -> None:
        with self._state:
            item.state, item.detail = state, detail[:MAX_DETAIL_CHARS]
            if state == "stored" and _is_outdated(item):
                item.state, item.due_s = "waiting", 0.0
        self.changed(is_urgent=True)

    def _put_off(self, item: _Item, detail: str) -> None:
        with self._state:
            item.due_s = time.monotonic() + retry_s(item.tries)
            item.tries += 1
        self._set(item, "waiting", detail)


def _wish(folder: str, attempt: str, order: OutputToPublish) -> ReadFolder:
    check = (order.is_checked, order.before, order.before_sha256)
    return ReadFolder(folder, attempt, order.equals, order.workdir, *check)


def _is_outdated(item: _Item) -> bool:
    """Whether objects of its store may have been deleted since it was looked at."""
    return item.stored is not None and item.stored.as_of != item.order.as_of


def _continued(before: _Item | None, order: OutputToPublish) -> _Item:
    """The item of an output that was on the list before."""
    if before is None:
        return _Item(order)
    if before.order != order and before.state == "waiting":
        before.due_s = 0.0
    before.order = order
    if before.state == "stored" and _is_outdated(before):
        before.state, before.due_s = "waiting", 0.0
    return before
