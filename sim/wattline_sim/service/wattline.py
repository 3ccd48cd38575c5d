"""The product: watts first. Decision and division are the scheduler's own."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_scheduler.power.demand.models import curve
from wattline_scheduler.power.scaling.load_history import LoadHistory
from wattline_scheduler.power.scaling.scaler import Goal, ReplicaGpu, Scaler, Wanted
from wattline_scheduler.power.scaling.service_load import Load, added
from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.profiles import GpuModel
from wattline_sim.service.feed import MW_PER_W, Feed
from wattline_sim.service.stage import Bounds, Stage

GROW_S = 0.5
"""From a decision until a cap rises: others have acknowledged theirs by then."""


class Wattline:
    """Caps of the service as its scaler wants them; training has the rest of the feed."""

    name = "wattline"

    def __init__(self, feed: Feed, model: GpuModel, bounds: Bounds, p95_s: float) -> None:
        self._feed = feed
        self._least_mw, most_mw = (
            model.limit_min_w * MW_PER_W,
            model.limit_max_w * MW_PER_W,
        )
        gpu = ReplicaGpu(curve(model.display_name, "decode"), most_mw, self._least_mw, most_mw)
        self.scaler = Scaler(Goal(bounds.least, bounds.most, p95_s), gpu, LoadHistory())
        self._caps_w: Floats = np.zeros(0)
        self._coming: deque[tuple[float, Floats]] = deque()
        """When caps that were raised come into force, and those."""

    def begin(self, stage: Stage) -> None:
        """Nothing is measured yet."""
        self._caps_w = self._feed.caps_w(self._wanted(stage, 0, {}))
        stage.set_caps(self._caps_w)

    def step(self, stage: Stage) -> None:
        """Caps that were raised by the last decision come into force."""
        while self._coming and stage.now_s >= self._coming[0][0]:
            _, self._caps_w = self._coming.popleft()
            stage.set_caps(self._caps_w)

    def rise(self, stage: Stage, more: float) -> None:
        """Watts alone."""
        ready = stage.replicas.ready(stage.now_s)
        self._cap(stage, self.scaler.rise(more, len(ready)))

    def second(self, stage: Stage, load: Load) -> None:
        """Decide on watts and replicas."""
        ready = stage.replicas.ready(stage.now_s)
        caps_mw = {one.slot: self._cap_mw(stage, one.slot) for one in ready}
        now = Now(Instant(stage.now_s), UnixTime(stage.now_s))
        self.scaler.history.add(load.arrived, now.unix_s)
        wanted = self.scaler.second(added([load]), caps_mw, stage.count, now)
        stage.set_replicas(wanted.replicas)
        self._cap(stage, wanted)

    def _cap(self, stage: Stage, wanted: Wanted) -> None:
        """Caps that fall do so at once."""
        next_w = self._feed.caps_w(self._wanted(stage, wanted.cap_mw, wanted.caps_mw))
        self._coming = deque((at_s, np.minimum(caps_w, next_w)) for at_s, caps_w in self._coming)
        self._coming.append((stage.now_s + GROW_S, next_w))
        self._caps_w = np.minimum(self._caps_w, next_w)
        stage.set_caps(self._caps_w)

    def _cap_mw(self, stage: Stage, slot: int) -> int:
        return round(float(self._caps_w[stage.gpus_of(slot)].min()) * MW_PER_W)

    def _wanted(self, stage: Stage, cap_mw: int, caps_mw: Mapping[int, int]) -> Indexes:
        """Milliwatts of each GPU of the service; a replica that loads needs the least."""
        wanted = np.zeros(stage.plant.layout.gpu_count, dtype=np.int64)
        for one in stage.replicas.all:
            is_loading = one.ready_s > stage.now_s
            mw = self._least_mw if is_loading else caps_mw.get(one.slot, cap_mw)
            wanted[stage.gpus_of(one.slot)] = mw
        return wanted
