"""Fair queue: requests of many members, served in turn by the cost of each member so far.

Theory. The cost of a request is known only after it was served, so this is a deficit round robin in
arrears (surplus round robin). Each member with queued items is in a ring with a credit, in seconds
of the loop. It is served while its credit is above zero, and charged the time used. Then it moves
to the end of the ring, and gets `QUANTUM_S` when its turn comes again: a member whose request was
expensive passes as many turns as it cost. So between two turns of one member each other one uses at
most a quantum and the rest of one item, whatever it requests and however often; and a member with
cheap requests waits for at most one round.

In addition each member has an allowance, which fills at a share of the passing time: requests
beyond it wait, even if no other member has any. Beats, plans and leases get that time.
"""

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from wattline_protocol.ids import Instant, Now

QUANTUM_S = 0.005
"""Credit of one round."""

MAX_REMEMBERED = 4_096
"""Members with an empty queue whose debt and allowance are remembered, the last served ones."""

T = TypeVar("T")


class FairLimits(NamedTuple):
    """Limits of each member."""

    share: float
    """Share of the loop's time, in the long run."""
    burst_s: float
    """Time of the loop, at once."""
    items: int
    """Maximum of queued items."""
    bytes: int
    """Size of all queued items."""


@dataclass(slots=True)
class _Member(Generic[T]):
    name: str
    allowance_s: float
    filled: Instant
    credit_s: float = 0.0
    items: deque[tuple[T, int]] = field(default_factory=deque)
    bytes: int = 0


class FairQueue(Generic[T]):
    """Queued items by member. `T`: the item type."""

    def __init__(self, limits: FairLimits) -> None:
        self._limits = limits
        self._waiting: dict[str, _Member[T]] = {}
        """Members with queued items: in the ring, or resting."""
        self._ring: deque[_Member[T]] = deque()
        """The first is next."""
        self._resting: list[tuple[float, str]] = []
        """A heap: members that have used up their allowance, and when they may be served again."""
        self._idle: OrderedDict[str, _Member[T]] = OrderedDict()

    def __len__(self) -> int:
        """Members with queued items."""
        return len(self._waiting)

    def waiting(self, name: str) -> int:
        """Number of queued items of this member."""
        member = self._waiting.get(name)
        return 0 if member is None else len(member.items)

    def put(self, name: str, item: T, size: int, now: Instant) -> bool:
        """Queue an item behind others of its member. False = a limit is reached."""
        member = self._waiting.get(name) or self._joined(name, now)
        if member.items and not self._fits(member, size):
            return False
        member.items.append((item, size))
        member.bytes += size
        return True

    def take(self, now: Instant) -> tuple[str, T] | None:
        """The next item and its member. None = none may be served now.

        After serving it, call `charge` with the cost, and before that `put_back` if it is not done.
        """
        self._wake_up(now)
        ring, in_debt = self._ring, 0
        while ring:
            member = ring[0]
            if self._filled(member, now) <= 0.0:
                self._rest(now)
            elif member.credit_s > 0.0:
                item, size = member.items.popleft()
                member.bytes -= size
                return member.name, item
            elif in_debt < len(ring):
                in_debt += 1
                member.credit_s += QUANTUM_S
                ring.rotate(-1)
            else:
                self._pass_rounds()
                in_debt = 0
        return None

    def serve(
        self, clock: Callable[[], Now], most_s: float, serve: Callable[[str, T, Now], float]
    ) -> None:
        """Serve items in turn until none may be served, or for `most_s`.

        `serve`: given the member, the item and the time; its result is charged in addition to the
        time used.
        """
        now = clock()
        until_s = now.mono_s + most_s
        while now.mono_s < until_s and (taken := self.take(now.mono_s)) is not None:
            more_s = serve(*taken, now)
            ended = clock()
            self.charge(ended.mono_s - now.mono_s + more_s)
            now = ended

    def put_back(self, item: T, size: int) -> None:
        """The item taken is not done: it is served further before all others of its member."""
        self._ring[0].items.appendleft((item, size))
        self._ring[0].bytes += size

    def charge(self, cost_s: float) -> None:
        """Charge the cost of serving the item taken, or a part of it."""
        member = self._ring[0]
        member.credit_s -= cost_s
        member.allowance_s -= cost_s
        if not member.items:
            self._leave(self._ring.popleft())

    def next_in_s(self, now: Instant) -> float | None:
        """Time until something may be served; None = nothing is queued."""
        if self._ring:
            return 0.0
        return max(0.0, self._resting[0][0] - now) if self._resting else None

    def _joined(self, name: str, now: Instant) -> _Member[T]:
        """Add a member with an empty queue behind all others. Debt is remembered, credit not."""
        member = self._idle.pop(name, None) or _Member(name, self._limits.burst_s, now)
        member.credit_s = min(member.credit_s, 0.0) + QUANTUM_S
        self._waiting[name] = member
        self._ring.append(member)
        return member

    def _leave(self, member: _Member[T]) -> None:
        del self._waiting[member.name]
        if len(self._idle) >= MAX_REMEMBERED:
            self._idle.popitem(last=False)
        self._idle[member.name] = member

    def _fits(self, member: _Member[T], size: int) -> bool:
        limits = self._limits
        return len(member.items) < limits.items and member.bytes + size <= limits.bytes

    def _filled(self, member: _Member[T], now: Instant) -> float:
        grown_s = member.allowance_s + (now - member.filled) * self._limits.share
        member.allowance_s, member.filled = min(grown_s, self._limits.burst_s), now
        return member.allowance_s

    def _rest(self, now: Instant) -> None:
        """Rest the first of the ring until its allowance is a quantum."""
        member = self._ring.popleft()
        short_s = QUANTUM_S - member.allowance_s
        heapq.heappush(self._resting, (now + short_s / self._limits.share, member.name))

    def _wake_up(self, now: Instant) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._ring.append(self._waiting[heapq.heappop(self._resting)[1]])

    def _pass_rounds(self) -> None:
        """All are in debt: skip as many rounds as the one that owes least has to pass."""
        least_s = -max(member.credit_s for member in self._ring)
        rounds = math.floor(least_s / QUANTUM_S) + 1
        for member in self._ring:
            member.credit_s += rounds * QUANTUM_S
