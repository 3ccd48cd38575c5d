"""Watts and replicas of one service, decided once a second, and watts at each rise; pure.

Watts follow the need of each ready replica: the greater of what the load of the service needs of
all alike, ``rate / (n × capacity) + alone / time``, and what works off its own queue in time,
``waiting / (capacity × time)``, both as performance and then as a cap on the curve of the GPU. The
number of replicas follows the first alone, from the constants of `work_rate`.

A time below `alone` cannot be kept by any watts. So it does not count: what the load takes of the
capacity is all that such a service gets.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, sqrt

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import digits
from wattline_protocol.wire.rollouts import BUCKETS_S
from wattline_scheduler.power.demand.models import Curve
from wattline_scheduler.power.scaling.load_history import LoadHistory
from wattline_scheduler.power.scaling.service_load import Load, quantile_s
from wattline_scheduler.power.scaling.work_rate import WorkRate

P95 = 0.95

FLOW_AIM, QUEUE_AIM = 0.8, 0.5
"""Shares of the SLO's time: that in which the load as a whole is to be answered, and that in which
a queue is to be worked off. The rest is for what no load of the past shows."""

LOAD_AIM = 0.8
"""Share of the capacity that the load is to take where no time can be kept."""

KEPT_AGAIN = 0.9
"""A time that could not be kept counts again once `alone` is below this share of it."""

FLOW_S, START_S = 20, 30
"""Seconds over which the load is averaged for watts, and for replicas."""

SURE_S, SURE = (2, 5), 1.5
START_SURE_S, START_SURE = (5, 10), 3.0
"""Shorter times count by their mean less so many standard deviations. A replica that chance starts
stays for the whole cool-down; watts fall after seconds."""

HOLD_S, LEAST_HOLD_S = 5, 3
"""Watts for the load fall to the highest need of so many seconds: of the first where the SLO's time
is `HELD_TIME_S` or less, of fewer where it is longer. Caps rise within two seconds, which a longer
time has to spare."""

HELD_TIME_S = 2.0

START_ABOVE, STOP_BELOW = 0.72, 0.62
"""More replicas start where the load needs a higher performance than the first of those there
are; fewer stay where these need no more than the second. Watts bridge the rest."""

COOL_DOWN_S = 300
"""Replicas stop when fewer would have sufficed all this time."""

LEAST_ROOM = 0.1
"""Performance left for the load in the count of replicas, where the time alone takes it all."""

PROBE = 0.95
"""While the constants are not known, watts fall so much after a window that was in time."""

SURGE = 1.5
"""And so many times the replicas start while requests are late."""

LEAST_WORK = 1.0
"""Of a window that says anything: one token, or one request."""

WINDOW_REQUESTS = 100
LEAST_WINDOW_S, MOST_WINDOW_S = 5, 60
"""A window has so many requests, within these bounds of its length."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked for a service."""

    least: int
    most: int
    p95_s: float


@dataclass(frozen=True, slots=True)
class ReplicaGpu:
    """Each GPU of a replica."""

    curve: Curve
    demand_mw: int
    """Uncapped draw."""
    cap_min_mw: int
    cap_max_mw: int

    def performance(self, cap_mw: int) -> float:
        """Share of the uncapped performance at a cap."""
        return self.curve.performance(cap_mw, self.demand_mw)

    def cap_mw(self, performance: float) -> int:
        """The least cap that gives it, within what the GPU can be set to."""
        cap_mw = round(self.curve.cap_for(performance, self.demand_mw))
        return min(max(cap_mw, self.cap_min_mw), self.cap_max_mw)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The decision."""

    cap_mw: int
    """Of each GPU of a replica that `caps_mw` does not name."""
    caps_mw: Mapping[int, int]
    """Of each GPU of a replica, by replica."""
    replicas: int
    reason: str


@dataclass(slots=True)
class _Window:
    """Answers until there are enough for the constants."""

    seconds: int = 0
    answered: float = 0.0
    replica_s: float = 0.0
    performance_s: float = 0.0
    """Performance of all replicas, over time."""
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def add(self, load: Load, performances: list[float]) -> None:
        self.seconds += 1
        self.answered += load.answered
        self.replica_s += len(performances)
        self.performance_s += sum(performances)
        for at, count in enumerate(load.times):
            self.times[at] += count

    @property
    def is_full(self) -> bool:
        is_enough = self.seconds >= LEAST_WINDOW_S and sum(self.times) >= WINDOW_REQUESTS
        return is_enough or self.seconds >= MOST_WINDOW_S


class Scaler:
    """The state of one service; `second` and `rise` are its only entries."""

    def __init__(self, goal: Goal, gpu: ReplicaGpu | None, history: LoadHistory) -> None:
        """`history`: the caller adds each second to it."""
        self.goal, self.gpu, self.history = goal, gpu, history
        """As of now; `gpu` None: its replicas have none, and get no watts."""
        self.gpus: Mapping[int, ReplicaGpu] = {}
        """As of now, of replicas that are placed; others count as having `gpu`."""
        self.rate = WorkRate()
        self._window = _Window()
        self._arrived: deque[float] = deque(maxlen=START_S)
        self._requests: deque[int] = deque(maxlen=START_S)
        self._waited: deque[float] = deque(maxlen=START_S)
        self._needs: deque[float] = deque(maxlen=HOLD_S)
        self._enough: deque[int] = deque(maxlen=COOL_DOWN_S)
        self._probe = 1.0
        self._whole = 0.0
        """Performance that the load needed when all gateways reported."""
        self._is_kept = True
        """Its time is no less than a request alone takes, as far as is known."""
        self._wanted = Wanted(0 if gpu is None else gpu.cap_max_mw, {}, goal.least, "")

    def second(self, load: Load | None, caps_mw: Mapping[int, int], count: int, now: Now) -> Wanted:
        """Decides for the next second.

        `caps_mw`: caps in force of the ready replicas. `count`: replicas there are to be now,
        without those that are overdue to be ready. `load` None: it is not known, so watts and
        replicas stay, and the cool-down begins again. With a partial one neither falls.
        """
        if load is None:
            self._enough.clear()
            stays, reason = self._within(count), "the load is not known"
            self._wanted = replace(self._wanted, replicas=stays, reason=reason)
            return self._wanted
        self._arrived.append(load.arrived)
        self._requests.append(load.requests)
        self._waited.append(load.total_waiting)
        self._learn(load, caps_mw, now)
        self._judge()
        flow = self._flow(load, len(caps_mw))
        queued = load.queued / max(len(caps_mw), 1)
        caps = {
            one: self._cap_mw(flow, load.waiting.get(one, 0.0) + queued, self.gpus.get(one))
            for one in {**self.gpus, **caps_mw}
        }
        replicas, reason = self._replicas(load, count, count > len(caps_mw), now)
        self._wanted = Wanted(self._cap_mw(flow, queued), caps, replicas, reason)
        return self._wanted

    def rise(self, more: float, ready: int) -> Wanted:
        """Raises watts for a load that has just risen by so much, before a second shows it.

        `ready`: the number of ready replicas. Watts stay as long as if this second had shown it.
        """
        if not (ready and self._needs and self.rate.is_known):
            return self._wanted
        need = self._need(max(self._watts_rate(), self._mean(FLOW_S) + more), ready)
        self._needs[-1] = max(self._needs[-1], need)
        before = self._wanted
        caps = {
            one: max(cap_mw, self._cap_mw(need, 0.0, self.gpus.get(one)))
            for one, cap_mw in before.caps_mw.items()
        }
        cap_mw = max(before.cap_mw, self._cap_mw(need, 0.0))
        self._wanted = replace(before, cap_mw=cap_mw, caps_mw=caps)
        return self._wanted

    @property
    def alone_s(self) -> float | None:
        """What the p95 is without load and caps; None = not known yet."""
        return self.rate.constants[1] if self.rate.is_known else None

    def _performance(self, replica: int, cap_mw: int) -> float:
        gpu = self.gpus.get(replica, self.gpu)
        return 1.0 if gpu is None else gpu.performance(cap_mw)

    def _learn(self, load: Load, caps_mw: Mapping[int, int], now: Now) -> None:
        if load.is_partial:  # the times are those of all the load
            self._window = _Window()
            return
        if not caps_mw:
            return
        window = self._window
        window.add(load, [self._performance(*one) for one in caps_mw.items()])
        if not window.is_full:
            return
        self._window = _Window()
        time_s = quantile_s(window.times, P95)
        if not time_s or window.answered < LEAST_WORK or not window.performance_s:
            return
        mean = window.performance_s / window.replica_s
        self.rate.learn(window.answered / window.performance_s, time_s, mean, now.mono_s)
        is_in_time = time_s < FLOW_AIM * self.goal.p95_s
        self._probe = self._probe * PROBE if is_in_time else 1.0

    def _flow(self, load: Load, ready: int) -> float:
        """Performance that the load needs of each of so many replicas; the highest of late."""
        if not ready:
            need = 1.0
        elif not self.rate.is_known:
            need = self._probe
        else:
            flow = self._need(self._watts_rate(), ready)
            need = max(flow, self._queue(load.total_waiting / ready))
        self._needs.append(max(need, self._whole) if load.is_partial else need)
        need = max(list(self._needs)[-self._hold_s() :])
        if not load.is_partial:
            self._whole = need
        return need

    def _need(self, rate: float, ready: int) -> float:
        """Performance that a load needs of each of so many replicas."""
        share = rate / (ready * self.rate.constants[0])
        return share + self._alone() if self._is_kept else share / LOAD_AIM

    def _hold_s(self) -> int:
        return min(max(round(HOLD_S * HELD_TIME_S / self.goal.p95_s), LEAST_HOLD_S), HOLD_S)

    def _judge(self) -> None:
        """Whether its time can be kept."""
        share = 1.0 if self._is_kept else KEPT_AGAIN
        self._is_kept = (self.alone_s or 0.0) <= share * self.goal.p95_s

    def _queue(self, waiting: float) -> float:
        """Performance that works off what waits at a replica in time."""
        if not (self._is_kept and self.rate.is_known):
            return 0.0
        return waiting / (self.rate.constants[0] * QUEUE_AIM * self.goal.p95_s)

    def _alone(self) -> float:
        """Performance that a request needs on a replica without load, to be in time."""
        return self.rate.constants[1] / (FLOW_AIM * self.goal.p95_s) if self._is_kept else 0.0

    def _cap_mw(self, flow: float, waiting: float, gpu: ReplicaGpu | None = None) -> int:
        """Cap that gives the performance; `gpu` None: it is not placed."""
        need, gpu = min(max(flow, self._queue(waiting)), 1.0), gpu or self.gpu
        return 0 if gpu is None else gpu.cap_mw(need)

    def _rate(self, mean_s: int, shorter_s: tuple[int, ...], sure: float) -> float:
        """The load: the mean of a time, or what a shorter one shows beyond chance."""
        rate = self._mean(mean_s)
        for seconds in shorter_s:
            requests = sum(list(self._requests)[-seconds:])
            if requests:
                rate = max(rate, self._mean(seconds) * (1.0 - sure / sqrt(requests)))
        return rate

    def _watts_rate(self) -> float:
        return self._rate(FLOW_S, SURE_S, SURE)

    def _mean(self, seconds: int) -> float:
        newest = list(self._arrived)[-seconds:]
        return sum(newest) / len(newest)

    def _replicas(self, load: Load, count: int, is_coming: bool, now: Now) -> tuple[int, str]:
        """How many there are to be, and why."""
        if not self.rate.is_known:
            return self._surged(count, is_coming)
        rate = self._rate(START_S, START_SURE_S, START_SURE)
        asked = self.history.asked(now.unix_s)
        needed, enough = self._number(rate, START_ABOVE), self._number(rate, STOP_BELOW)
        floor = 0 if asked is None else self._number(asked, STOP_BELOW)
        if load.is_partial:
            self._enough.clear()
        else:
            self._enough.append(max(enough, floor))
        if max(needed, floor) > count:
            if needed > floor:
                why = self._why("", rate, count, f", above {START_ABOVE}")
            else:
                why = self._why(" of the same hour of this weekday", asked or 0.0, count, "")
            return self._within(max(needed, floor)), why
        is_cool = len(self._enough) == COOL_DOWN_S
        stays = min(count, max(self._enough)) if is_cool else count
        over = f" for {COOL_DOWN_S} s" if stays < count else ""
        return self._within(stays), self._why("", rate, max(stays, 1), over)

    def _why(self, of: str, rate: float, count: int, more: str) -> str:
        """`load 412/s needs 0.81 of what 2 replicas do`."""
        share = rate / (max(count, 1) * self.rate.constants[0]) + self._alone()
        done = "1 replica does" if count == 1 else f"{count} replicas do"
        late = "" if self._is_kept else "; its time cannot be kept and does not count"
        return f"load {digits(rate)}/s{of} needs {share:.2f} of what {done}{more}{late}"

    def _surged(self, count: int, is_coming: bool) -> tuple[int, str]:
        """Before anything is known: more only while requests are late, and none is coming."""
        self._enough.clear()
        wanted = ceil(count * SURGE) if self._is_late() and not is_coming else count
        why = "requests are late, and " if wanted > count else ""
        return self._within(wanted), f"{why}what a replica can do is not known yet"

    def _is_late(self) -> bool:
        """Whether requests of late waited too long beyond chance, by Little's law: what waits, over
        what arrives, is the time. A quick request may happen to wait when gateways report."""
        requests, arrived = sum(self._requests), sum(self._arrived)
        waited = sum(self._waited) * (requests / arrived if arrived else 1.0)
        return waited - SURE * sqrt(waited) > requests * FLOW_AIM * self.goal.p95_s

    def _number(self, rate: float, performance: float) -> int:
        """The fewest replicas of which that load needs no more than that performance."""
        capacity, _ = self.rate.constants
        return ceil(rate / (capacity * max(performance - self._alone(), LEAST_ROOM)))

    def _within(self, replicas: int) -> int:
        return min(max(replicas, self.goal.least), self.goal.most)
