"""Replicas of a service on the plant: each request through prefill and decode.

Physics and watts are those of `facility.plant.services`: queued prefill is worked off in order at
the pace of the replica, decode takes what time prefill leaves, and what the GPUs ask for follows
from the sequences that they hold. Here single requests are followed, and routed: to the ready
replica with the fewest outstanding.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from wattline_sim.facility.plant.catalogue import (
    DECODE_LEVELS,
    DECODE_S_PER_TOKEN,
    PREFILL_LEVEL,
    PREFILL_S_PER_TOKEN,
)
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.jobs import Jobs
from wattline_sim.facility.plant.workload import PHASES
from wattline_sim.service.requests import Requests

_PREFILL, _DECODE = PHASES.index("prefill"), PHASES.index("decode")
_SEQUENCES = [sequences for sequences, _ in DECODE_LEVELS]
_LEVELS = [level for _, level in DECODE_LEVELS]


@dataclass(slots=True)
class Replica:
    """One replica; `row` is its row on the plant's board."""

    slot: int
    gpus: int
    row: int
    ready_s: float
    is_draining: bool = False
    queue: deque[tuple[int, float]] = field(default_factory=deque)
    """Requests whose prefill has not ended, and its seconds at full pace."""
    head_s: float = 0.0
    """What the first of them has had."""
    decoding: list[tuple[float, int]] = field(default_factory=list)
    """Heap: (`tokens` at its end, request)."""
    tokens: float = 0.0
    """Of each of its sequences since the start."""

    @property
    def outstanding(self) -> int:
        """Requests that it has not answered in full."""
        return len(self.queue) + len(self.decoding)

    @property
    def waiting_tokens(self) -> float:
        """Input tokens of requests whose first token has not come, as a gateway counts them."""
        return sum(needs_s for _, needs_s in self.queue) * self.gpus / PREFILL_S_PER_TOKEN


class Replicas:
    """All replicas of the service; a load on the plant."""

    def __init__(self, requests: Requests) -> None:
        self._arrival_s = requests.arrival_s.tolist()
        self._prefill_s = (requests.input_tokens * PREFILL_S_PER_TOKEN).tolist()
        self._output_tokens = requests.output_tokens.tolist()
        self.first_s = [float("inf")] * len(self._arrival_s)
        """When each request's first token came."""
        self.last_s = [float("inf")] * len(self._arrival_s)
        self.all: list[Replica] = []
        self.unrouted: deque[int] = deque()
        """Requests that no replica was ready for."""
        self.begun: list[int] = []
        """Requests whose first token came since the list was last emptied."""
        self.tokens = 0.0
        """Input and output tokens worked off since the start."""

    def ready(self, now_s: float) -> list[Replica]:
        """Those that take requests."""
        return [one for one in self.all if one.ready_s <= now_s and not one.is_draining]

    def take(self, numbers: Iterable[int]) -> None:
        """Requests arrive."""
        self.unrouted.extend(numbers)

    def step(self, dt_s: float, now_s: float, pace: Floats, board: Jobs) -> None:
        """Advance all replicas; writes level and phase of their rows."""
        ready = self.ready(now_s)
        while self.unrouted and ready:
            number = self.unrouted.popleft()
            one = min(ready, key=_outstanding)
            one.queue.append((number, self._prefill_s[number] / one.gpus))
        for one in self.all:
            if one.ready_s <= now_s:
                self._advance(one, dt_s, now_s, float(pace[one.row]), board)

    def _advance(self, one: Replica, dt_s: float, now_s: float, pace: float, board: Jobs) -> None:
        work_s, held = pace * dt_s, len(one.decoding)
        done_s, begun = 0.0, list[tuple[int, float]]()
        if one.queue and work_s > 0.0:
            done_s, begun = self._prefill(one, work_s, dt_s, now_s)
        gained = (work_s - done_s) / DECODE_S_PER_TOKEN
        for number, share in begun:
            self.begun.append(number)
            self.first_s[number] = now_s + dt_s * share
            ends = one.tokens + gained * share + self._output_tokens[number]
            heappush(one.decoding, (ends, number))
        self._decode(one, gained, dt_s, now_s)
        self.tokens += done_s * one.gpus / PREFILL_S_PER_TOKEN + gained * held
        decoding, share = _level(held / one.gpus), done_s / max(work_s, 1e-12)
        board.level[one.row] = decoding + share * (PREFILL_LEVEL - decoding)
        board.phase[one.row] = _PREFILL if share > 0.5 else _DECODE

    def _prefill(
        self, one: Replica, work_s: float, dt_s: float, now_s: float
    ) -> tuple[float, list[tuple[int, float]]]:
        """Work off the queue; returns the seconds of full pace that it took, and each request
        whose prefill ended, with the share of the step until then."""
        left_s, done_s, begun = work_s, 0.0, list[tuple[int, float]]()
        while one.queue and left_s > 0.0:
            number, needs_s = one.queue[0]
            left_s = min(left_s, work_s * (1.0 - (self._arrival_s[number] - now_s) / dt_s))
            part_s = min(needs_s - one.head_s, left_s)
            left_s, done_s, one.head_s = left_s - part_s, done_s + part_s, one.head_s + part_s
            if one.head_s < needs_s:
                break
            one.head_s = 0.0
            one.queue.popleft()
            begun.append((number, 1.0 - left_s / work_s))
        return done_s, begun

    def _decode(self, one: Replica, gained: float, dt_s: float, now_s: float) -> None:
        """Each sequence gets that many tokens."""
        before = one.tokens
        one.tokens += gained
        while one.decoding and one.decoding[0][0] <= one.tokens:
            ends, number = heappop(one.decoding)
            share = (ends - before) / gained if gained > 0.0 else 1.0
            self.last_s[number] = now_s + dt_s * share


def _outstanding(one: Replica) -> int:
    return len(one.queue) + len(one.decoding)


def _level(sequences: float) -> float:
    """What decode asks for with that many sequences per GPU."""
    at = bisect_right(_SEQUENCES, sequences)
    if at == len(_SEQUENCES):
        return _LEVELS[-1]
    share = (sequences - _SEQUENCES[at - 1]) / (_SEQUENCES[at] - _SEQUENCES[at - 1])
    return _LEVELS[at - 1] + share * (_LEVELS[at] - _LEVELS[at - 1])
