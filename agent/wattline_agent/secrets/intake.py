"""Values that arrive sealed: opened, checked, and stored; and entries that are to be removed.

The scheduler has checked the permission. A message may still be for another entry, or an old one
that is replayed: node, user, entry and a time are therefore inside the sealed value. It is stored
only within `FRESH_S` of that time by this node's clock, and only if no newer value was stored or
removed since. A time on record that this clock would not admit was noted while it was ahead: it is
lowered to the latest that is admitted, so that the entry can be put again after `FRESH_S`.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from wattline_agent.secrets.secret_store import Found, SecretStore, SecretUnusable
from wattline_agent.statefile import StateUnusable, write_whole
from wattline_protocol.data.secrets import MAX_OF_NODE, DropSecret, StoreSecret
from wattline_protocol.text.quantities import format_clipped

TIMES_FILE = "secrets.times"
FRESH_S = 600.0
"""How far the clocks of client and node may differ, with the way."""
MAX_TIMES = 2 * MAX_OF_NODE
MAX_TIMES_BYTES = 4 * 1024 * 1024
US_PER_S = 1_000_000


class _Times(msgspec.Struct):
    """Times in microseconds by USER/ENTRY: sealed, or removed."""

    newest_us: dict[str, int] = {}


class Intake:
    """The only writer of a node's entries beside its operators."""

    def __init__(
        self,
        node: str,
        secret_key: str,
        store: SecretStore,
        state_dir: Path,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """`secret_key`: the node's own, z85."""
        self._node, self._secret_key, self._store = node, secret_key, store
        self._path = state_dir / TIMES_FILE
        self._unix_s = unix_s

    def find(self) -> Found:
        """What the node has."""
        return self._store.find()

    def carry_out(self, order: StoreSecret | DropSecret) -> str:
        """Why it is not done; empty = it is."""
        try:
            return self._put(order) if isinstance(order, StoreSecret) else self._drop(order)
        except (SecretUnusable, StateUnusable) as error:
            return str(error)
        except OSError as error:
            return f"{error.strerror}: {error.filename or 'secrets'}"

    def _put(self, message: StoreSecret) -> str:
        # With the first, not before: it takes 0.1 s, and many agents never need it.
        from wattline_protocol.trust.sealed_secrets import NotSealed, unseal

        name = f"{message.user}/{message.entry}"
        try:
            secret = unseal(message.sealed, self._secret_key)
        except NotSealed as error:
            return str(error)
        if (secret.node, secret.user, secret.entry) != (self._node, message.user, message.entry):
            return "it was sealed for another node, user or entry"
        times = self._load()
        newest_us = self._newest_us(times, name)
        if secret.sealed_unix_us == newest_us and self._has(message, secret.value):
            return ""  # a client repeats a request whose answer was lost
        if problem := self._is_stale(newest_us, secret.sealed_unix_us):
            return problem
        self._note(times, name, secret.sealed_unix_us)  # first: else it could be put twice
        self._store.write(message.user, message.entry, secret.value)
        return ""

    def _has(self, message: StoreSecret, value: bytes) -> bool:
        try:
            return self._store.read(message.user, message.entry) == value
        except SecretUnusable:
            return False

    def _drop(self, message: DropSecret) -> str:
        name = f"{message.user}/{message.entry}"
        times = self._load()
        now_us = round(self._unix_s() * US_PER_S)
        self._note(times, name, max(now_us, self._newest_us(times, name)))
        self._store.remove(message.user, message.entry)
        return ""

    def _newest_us(self, times: _Times, name: str) -> int:
        """What a value must be newer than."""
        newest_us = times.newest_us.get(name, 0)
        latest_us = round((self._unix_s() + FRESH_S) * US_PER_S)
        if newest_us <= latest_us:
            return newest_us
        self._note(times, name, latest_us)  # else it would stay the latest at each later time
        return latest_us

    def _is_stale(self, newest_us: int, sealed_us: int) -> str:
        late_s = self._unix_s() - sealed_us / US_PER_S
        if abs(late_s) > FRESH_S:
            which = "after" if late_s < 0 else "before"
            by = format_clipped(abs(late_s))
            return f"sealed {by} {which} this node's time; compare the clocks, and put it again"
        if sealed_us <= newest_us:
            early_s = math.ceil(newest_us / US_PER_S - self._unix_s())
            when = f" in {format_clipped(early_s)}" if early_s > 0 else ""
            return f"a newer value was stored or removed here since; put it again{when}"
        return ""

    def _note(self, times: _Times, name: str, at_us: int) -> None:
        times.newest_us[name] = at_us
        if len(times.newest_us) > MAX_TIMES:  # what is forgotten is older than `FRESH_S`
            oldest = sorted(times.newest_us.items(), key=lambda item: item[1])
            fresh_us = round((self._unix_s() - FRESH_S) * US_PER_S)
            for old, us in oldest[: len(oldest) - MAX_OF_NODE]:
                if us < fresh_us:
                    del times.newest_us[old]
        write_whole(self._path, msgspec.json.encode(times), is_synced=True)

    def _load(self) -> _Times:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_TIMES_BYTES)
            return msgspec.json.decode(data, type=_Times)
        except FileNotFoundError:
            return _Times()
        except OSError as error:
            raise SecretUnusable(f"cannot read {self._path}: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            remedy = f"move it away {format_clipped(FRESH_S)} after the last put"
            raise SecretUnusable(f"{self._path} is damaged; {remedy}") from error
