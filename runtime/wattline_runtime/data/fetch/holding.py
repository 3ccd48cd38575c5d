"""What the node holds: the list of the scheduler, and a few threads that work it off.

A version is tried until it is there or its failure is final. A store that is away is tried again
after 1 s, 2 s and so on up to a minute; a cache that is full at each change.
"""

import errno
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wattline_protocol.data.requests import DataPlace
from wattline_protocol.wire.agents.data_messages import (
    MAX_HELD,
    CacheReport,
    DataHeld,
    DataState,
    DataToHold,
    FetchOrder,
)
from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import TooLarge
from wattline_runtime.data.fetch.bring import Bringing, Damaged, Unwanted
from wattline_runtime.data.fetch.changed import Changed
from wattline_runtime.data.fetch.frames import PASSING, ReadFailed
from wattline_runtime.data.fetch.opening import opening_of
from wattline_runtime.data.fetch.pace import Pace
from wattline_runtime.data.fetch.turns import THREADS, Turn, retry_s, take_turn
from wattline_runtime.disk import DISK_FULL

MOST_OF_USER = 3
"""Versions fetched at a time for one user: its stores may all hang."""
DAMAGED_TRIES = 2
"""A content with another hash is fetched once more."""
MAX_DETAIL_CHARS = 500


@dataclass(slots=True)
class _Item(Turn):
    """One version on the list."""

    version: DataToHold
    state: DataState = "waiting"
    detail: str = ""
    damaged: int = 0
    is_full: bool = False
    """It waits for the cache, not for its store."""
    bringing: Bringing | None = None
    tried: DataToHold | None = None
    """The version as it was when its fetch began: the list may name another user meanwhile."""

    @property
    def user(self) -> str:
        return self.version.user

    @property
    def is_outdated(self) -> bool:
        """Whether its fetch is from another place than the list names now."""
        return self.tried is not None and _source(self.tried) != _source(self.version)


class Holding:
    """The list and the threads. `changed` is called from any of them."""

    def __init__(
        self,
        folder: CacheFolder,
        pace: Pace,
        changed: Changed,
    ) -> None:
        self._folder, self._pace = folder, pace
        self._changed = changed
        self._lock = threading.Lock()
        """Guards the folder and its index."""
        self._state = threading.Condition()
        """Guards the items."""
        self._items: dict[str, _Item] = {}
        self._in_use: frozenset[str] = frozenset()
        self._secrets: Mapping[str, bytes] = {}
        self._busy: Counter[str] = Counter()
        """Threads by user."""
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True).start()

    def obey(self, order: FetchOrder) -> None:
        """Replace the list."""
        hold = order.hold
        with self._state:
            before, self._in_use = self._items, frozenset(hold.in_use)
            self._items = {
                one.manifest_sha256: _continued(before.get(one.manifest_sha256), one)
                for one in hold.versions
            }
            for item in self._items.values():
                if item.is_full or self._is_new(item, order.secrets):
                    item.due_s, item.is_full = 0.0, False
            self._secrets = order.secrets
            keep = self._keep()
            self._state.notify_all()
        with self._lock:
            self._folder.shrink(keep)
            for name in set(hold.drop).intersection(self._folder.index.versions) - keep:
                self._folder.remove(name)
        self._changed(is_urgent=True)

    def _is_new(self, item: _Item, secrets: Mapping[str, bytes]) -> bool:
        """Whether the secret that opens its store was stored or replaced since."""
        name = item.version.opened_by
        return bool(name) and secrets.get(name) != self._secrets.get(name)

    def report(self) -> CacheReport:
        """The whole state."""
        with self._state:
            held = [_held(item) for item in self._items.values()]
            listed = set(self._items)
        with self._lock:
            index = self._folder.index
            others = [name for name in index.last_used_first() if name not in listed]
            limit_bytes, used_bytes = index.limit_bytes, index.used_bytes
        held += [DataHeld(name, "ready") for name in others]
        return CacheReport(tuple(held[:MAX_HELD]), limit_bytes, used_bytes)

    def _keep(self) -> frozenset[str]:
        return self._in_use.union(self._items)

    # --- Threads ------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            item, user = self._take()
            try:
                self._hold(item)
            finally:
                with self._state:
                    self._busy[user] -= 1
                    item.is_taken, item.bringing = False, None
                    self._state.notify_all()
                self._changed(is_urgent=True)

    def _take(self) -> tuple[_Item, str]:
        """The first that is due, of the user with the fewest threads; and that user."""
        with self._state:
            item = take_turn(self._state, self._waiting, self._busy, MOST_OF_USER)
            item.tried = item.version
            return item, item.user

    def _waiting(self) -> Iterator[_Item]:
        return (one for one in self._items.values() if one.state in ("waiting", "fetching"))

    def _hold(self, item: _Item) -> None:
        """Check the version if it is there, else fetch it."""
        item.is_full = False
        try:
            if self._is_there(item):
                self._set(item, "ready")
            else:
                self._bring(item)
        except Unwanted:
            return
        except Damaged as error:
            item.damaged += 1
            is_final = item.damaged >= DAMAGED_TRIES
            self._put_off(item, str(error), is_final=is_final, is_at_once=not is_final)
        except ReadFailed as error:
            self._put_off(item, _reading_text(error), is_final=_is_final(item, error))
        except TooLarge as error:
            item.is_full = True
            self._put_off(item, _full_text(error))
        except (FileExistsError, NotADirectoryError) as error:
            self._put_off(
                item, f"its manifest has paths that exclude each other: {error}", is_final=True
            )
        except OSError as error:
            where = "the disk of the cache is full" if error.errno in DISK_FULL else "the cache"
            self._put_off(item, f"{where}: {error.strerror}")
        except ValueError as error:
            self._put_off(item, f"its manifest is not valid: {error}", is_final=True)
        except Exception as error:  # the thread continues: one version stops no other
            traceback.print_exc()
            self._put_off(item, f"the fetch process has a fault: {error!r}")

    def _is_there(self, item: _Item) -> bool:
        """Whether it is complete and as it was written. A damaged copy is dropped."""
        name = item.version.manifest_sha256
        with self._lock:
            if name not in self._folder.index.versions:
                return False
            damaged = [] if name in self._in_use else self._folder.damaged(name)
            if not damaged:
                self._folder.use(name, time.time())
                return True
            if self._folder.drop_damaged(damaged, self._in_use):
                self._fetch_dropped()
                return False
        raise OSError(errno.EBUSY, f"{damaged[0].path} was changed, and a task uses it")

    def _fetch_dropped(self) -> None:
        """Other versions that had the damaged contents are not there any more either."""
        with self._state:
            for name, item in self._items.items():
                if item.state == "ready" and name not in self._folder.index.versions:
                    item.state, item.due_s = "waiting", 0.0
            self._state.notify_all()

    def _bring(self, item: _Item) -> None:
        version = item.tried or item.version
        opening = opening_of(version, self._secrets)
        item.bringing = Bringing(
            self._folder, self._lock, version, self._keep_now, lambda count: self._pass(item, count)
        )
        self._set(item, "fetching")
        item.bringing.run(opening)
        self._set(item, "ready")

    def _keep_now(self) -> frozenset[str]:
        with self._state:
            return self._keep()

    def _pass(self, item: _Item, count_bytes: int) -> None:
        self._pace.wait(count_bytes)
        with self._state:
            if self._items.get(item.version.manifest_sha256) is not item:
                raise Unwanted
        self._changed(is_urgent=False)

    def _set(self, item: _Item, state: DataState, detail: str = "") -> None:
        with self._state:
            item.state, item.detail = state, detail[:MAX_DETAIL_CHARS]
            if state == "ready":
                item.tries = item.damaged = 0
        self._changed(is_urgent=True)

    def _put_off(
        self, item: _Item, detail: str, *, is_final: bool = False, is_at_once: bool = False
    ) -> None:
        wait_s = retry_s(item.tries)
        with self._state:
            if item.is_outdated:  # says nothing about the place where it is to come from now
                item.damaged, detail, is_final, is_at_once = 0, "", False, True
            item.tries += 1
            item.due_s = time.monotonic() + (0.0 if is_at_once else wait_s)
        self._set(item, "failed" if is_final else "waiting", detail)


def _continued(before: _Item | None, version: DataToHold) -> _Item:
    """The item of a version that was on the list before. One that is there, or on its way, stays
    whoever asks for it; one that has failed is tried again for a new job, or from a new place, of
    which several that fail in turn are tried no more often than one."""
    if before is None:
        return _Item(version)
    if before.state in ("failed", "waiting") and before.version != version:
        is_same = _source(before.version) == _source(version)
        return _Item(version) if is_same else _Item(version, due_s=before.due_s, tries=before.tries)
    before.version = version
    return before


def _source(version: DataToHold) -> tuple[DataPlace, str, str, str]:
    """Where it is fetched from, and with which rights."""
    return version.place, version.account, version.user, version.secret


def _held(item: _Item) -> DataHeld:
    bringing = item.bringing
    done, total = (0, 0) if bringing is None else (bringing.done_bytes, bringing.total_bytes)
    version = item.version
    return DataHeld(
        *(version.manifest_sha256, item.state, done, total, item.detail),
        *(version.asked, version.listing, item.is_full),
    )


def _is_final(item: _Item, error: ReadFailed) -> bool:
    """A job has no other checkpoint: while its store may have it, it is tried again."""
    if item.version.is_checkpoint:
        return error.why == "missing"
    return error.why not in PASSING


def _reading_text(error: ReadFailed) -> str:
    if error.why == "missing":
        return "its store no longer has it"
    words = {
        "away": "its store is away",
        "locked": "its store cannot be opened",
        "refused": "its store refuses to be read",
    }
    return f"{words.get(error.why, 'its store cannot be read')}: {error.text}"


def _full_text(error: TooLarge) -> str:
    return (
        f"the cache is full: {error.needed_bytes} bytes are needed, {error.free_bytes} of "
        f"{error.limit_bytes} are free beside what is in use"
    )
