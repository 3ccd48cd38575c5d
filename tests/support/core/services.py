"""A service that answers by the law that `work_rate` learns, for tests of its scaler."""

from bisect import bisect_left
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_protocol.wire.rollouts import BUCKETS_S
from wattline_scheduler.power.demand.models import curve
from wattline_scheduler.power.scaling.load_history import LoadHistory
from wattline_scheduler.power.scaling.scaler import Goal, ReplicaGpu, Scaler, Wanted
from wattline_scheduler.power.scaling.service_load import Load

CAPACITY, ALONE_S, P95_S = 1_000.0, 0.1, 1.0
GPU = ReplicaGpu(curve("NVIDIA H100 80GB HBM3", "decode"), 700_000, 200_000, 700_000)


def load_of(rate: float, waiting: dict[int, float], times: dict[float, int]) -> Load:
    """A second in which as much was answered as arrived."""
    counts = [0] * (len(BUCKETS_S) + 1)
    for time_s, count in times.items():
        counts[bisect_left(BUCKETS_S, time_s)] += count
    return Load(round(rate), rate, rate, 0.0, waiting, tuple(counts))


@dataclass(slots=True)
class Service:
    """Replicas that are ready as soon as they are wanted."""

    least: int = 1
    most: int = 8
    replicas: int = 2
    second_s: float = 1.7e9
    scaler: Scaler = field(init=False)
    wanted: Wanted = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = Scaler(Goal(self.least, self.most, P95_S), GPU, LoadHistory())
        self.wanted = Wanted(GPU.cap_max_mw, {}, self.replicas, "")

    @property
    def caps_mw(self) -> dict[int, int]:
        """As wanted last."""
        of = self.wanted.caps_mw
        return {one: of.get(one, self.wanted.cap_mw) for one in range(self.replicas)}

    def load(self, rate: float) -> Load:
        """What a gateway reports at that rate, in the stationary state."""
        performance = min(GPU.performance(cap_mw) for cap_mw in self.caps_mw.values())
        x = min(rate / (self.replicas * performance * CAPACITY), 0.99)
        time_s = ALONE_S / (performance * (1.0 - x))
        waiting = rate * time_s / self.replicas
        return load_of(rate, dict.fromkeys(range(self.replicas), waiting), {time_s: round(rate)})

    def second(self, load: Load | None) -> Wanted:
        """One second; the decision comes into force at its end."""
        self.second_s += 1.0
        now = Now(Instant(self.second_s), UnixTime(self.second_s))
        if load is not None:
            self.scaler.history.add(load.arrived, now.unix_s)
        self.wanted = self.scaler.second(load, self.caps_mw, self.replicas, now)
        self.replicas = self.wanted.replicas
        return self.wanted

    def run(self, rate: float, seconds: int) -> Wanted:
        """Seconds of steady load."""
        for _ in range(seconds):
            self.second(self.load(rate))
        return self.wanted
