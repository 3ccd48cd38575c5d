"""Uncapped power demand of each GPU; pure, and cheap enough for every GPU every beat.

Where the cap does not bind, demand is measured: the peak of the last seconds plus a ramp margin, so
that a training job's swings within an iteration are not mistaken for spare watts, while a gap of
many seconds frees watts for others. Where the cap binds, a measurement is only a lower bound:
demand is then the known uncapped draw of the job's kind (fingerprint), else the user's figure, else
the GPU's maximum. It is at least a step above the cap, so that a job whose demand exceeds its known
draw climbs. Protected work under a cap counts at its learned 99 % quantile and, where its draw
swings within a second, at the cap that those swings need, which is learned too. While idle it lends
its watts like any other work, for they return within two beats.
"""

from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex, Instant, NodeId, UnixTime
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import SW_POWER_CAP, GpuInfo, GpuSample
from wattline_scheduler.power.demand.demand_store import Learned, Memory, unnamed
from wattline_scheduler.power.demand.draw_distribution import Draw
from wattline_scheduler.records import DemandRecord

BUCKET_BEATS = 4
BUCKETS = 3
"""The peak covers the last 8 to 12 beats: longer than a typical training iteration, and short
enough to free watts within seconds."""

RAMP_MARGIN_PERMILLE = 100
"""Margin above the measured demand, so that a ramp is covered while a new lease is on its way."""

PROBE_PERMILLE = 1_100
"""Where the cap binds, demand is at least this share of it: a step of 10 % each beat."""

PROTECTED_PROBE_PERMILLE = 1_250
"""Protected work climbs faster: what it does not need is released within a window."""

BOUND_HOLD_BEATS = 5
"""How long a cap that was seen to bind is assumed to bind."""

MIN_BOUND_MS = 50
"""A cap that limited clocks for less of a beat cost next to nothing."""

FULL_PERMILLE = 950
"""A cap binds continuously if the second's average is at least this share of it; else swings do."""


NEVER = Instant(0.0)


@dataclass(slots=True)
class _Track:
    """One GPU with a task: the peaks of its newest buckets, newest first."""

    learned: Learned
    bucket_s: float
    full_at: Instant
    """Time from which a whole window has been observed."""
    roll_at: Instant
    newest_mw: int = 0
    middle_mw: int = 0
    oldest_mw: int = 0
    last_mw: int = 0
    """Draw of the newest sample; 0 = none yet."""
    is_bound: bool = False
    """Whether the newest sample was under a binding cap."""
    bound_mw: int = 0
    """The most recent binding cap."""
    bound_until: Instant = NEVER

    def roll(self, at: Instant) -> None:
        self.oldest_mw, self.middle_mw, self.newest_mw = self.middle_mw, self.newest_mw, 0
        if at - self.roll_at > self.bucket_s * BUCKETS:  # no recent samples: discard the peaks
            self.oldest_mw = self.middle_mw = 0
        self.roll_at = Instant(at + self.bucket_s)

    @property
    def peak_mw(self) -> int:
        return max(self.newest_mw, self.middle_mw, self.oldest_mw)


class Demand:
    """Recent draw of every GPU with a task, and learned draw of each kind of job."""

    def __init__(self, beat_period_s: float, saved: tuple[DemandRecord, ...] = ()) -> None:
        self.memory = Memory(saved)
        self._bucket_s = BUCKET_BEATS * beat_period_s
        self._hold_s = BOUND_HOLD_BEATS * beat_period_s
        self._tracks: dict[tuple[NodeId, GpuIndex], _Track] = {}

    def begin(self, node: NodeId, gpu: GpuInfo, fingerprint: str, label: str, at: Instant) -> None:
        """Start tracking a task on the GPU; `label` describes the kind of job to users."""
        self._track(node, gpu, self.memory.hold(fingerprint, label, gpu, at), at)

    def begin_shared(self, node: NodeId, gpu: GpuInfo, at: Instant) -> None:
        """Start tracking several tasks on the GPU: their joint draw belongs to no kind of job."""
        self._track(node, gpu, unnamed(gpu), at)

    def _track(self, node: NodeId, gpu: GpuInfo, learned: Learned, at: Instant) -> None:
        full_at = Instant(at + self._bucket_s * BUCKETS)
        roll_at = Instant(at + self._bucket_s)
        self._tracks[node, gpu.index] = _Track(learned, self._bucket_s, full_at, roll_at)

    def forget(self, node: NodeId, gpu: GpuIndex, unix_s: UnixTime) -> DemandRecord | None:
        """Stop tracking the GPU's task; returns the record to save."""
        track = self._tracks.pop((node, gpu), None)
        if track is None or not track.learned.fingerprint:
            return None
        return self.memory.release(track.learned, unix_s)

    def rest(self, node: NodeId, gpu: GpuIndex, at: Instant) -> None:
        """Note a pause of the task: after it, the last seconds do not predict the next."""
        track = self._tracks.get((node, gpu))
        if track is not None:
            track.newest_mw = track.middle_mw = track.oldest_mw = track.last_mw = 0
            track.bound_until = at
            track.full_at = Instant(at + self._bucket_s * BUCKETS)

    def observe(self, node: NodeId, gpu: GpuInfo, sample: GpuSample, at: Instant) -> None:
        """Process one sample of a GPU whose task runs. A sample without power changes nothing."""
        power_mw = sample.power_mw
        track = self._tracks.get((node, sample.index))
        if power_mw is None or track is None:
            return
        if at >= track.roll_at:
            track.roll(at)
        if power_mw > track.newest_mw:
            track.newest_mw = power_mw
        draw = track.learned.draw
        if track.last_mw and power_mw - track.last_mw > draw.ramp_mw:
            draw.ramp_mw = power_mw - track.last_mw
        track.last_mw = power_mw
        track.is_bound = False
        if not _is_held(gpu, sample):
            draw.add(power_mw)
            return
        cap_mw = max(power_mw, sample.cap_mw or 0)
        if power_mw * PERMILLE < cap_mw * FULL_PERMILLE and cap_mw >= draw.p95_mw:
            draw.add(power_mw)
            draw.add_swing(cap_mw, track.peak_mw)
            return
        draw.add_bound(cap_mw)
        track.is_bound, track.bound_mw = True, cap_mw
        track.bound_until = Instant(at + self._hold_s)

    def of(
        self,
        node: NodeId,
        gpu: GpuInfo,
        watts_hint_mw: int,
        at: Instant,
        *,
        is_protected: bool = False,
    ) -> int:
        """Uncapped demand in GPU milliwatts, between the GPU's minimum and maximum cap. Never 0,
        also where an agent reports a minimum of 0 and no draw: curves are over the demand.

        `is_protected`: where a cap binds it counts at its learned 99 % quantile, and climbs faster.
        """
        track = self._tracks.get((node, gpu.index))
        fallback_mw = watts_hint_mw or gpu.cap_max_mw
        wanted_mw = fallback_mw if track is None else _wanted(track, fallback_mw, at, is_protected)
        return min(max(wanted_mw, gpu.cap_min_mw, 1), gpu.cap_max_mw)

    def is_bound(self, node: NodeId, gpu: GpuIndex, at: Instant) -> bool:
        """Whether a cap limits the GPU, or did in the last seconds: more watts are of use."""
        track = self._tracks.get((node, gpu))
        return track is not None and at < track.bound_until

    def bound_of(self, node: NodeId, gpu: GpuIndex) -> tuple[int, int] | None:
        """The cap that limits the GPU now, and the usual draw of its job, both milliwatts.

        Without a binding cap both are equal; None if the job is not known well enough.
        """
        track = self._tracks.get((node, gpu))
        if track is None or not track.learned.draw.is_known:
            return None
        usual_mw = track.learned.draw.p95_mw
        cap_mw = min(track.bound_mw, usual_mw) if track.is_bound else usual_mw
        return cap_mw, usual_mw

    def learned_of(self, node: NodeId, gpu: GpuIndex) -> Learned | None:
        """What is learned of the kind of job on the GPU; None if the GPU is not allocated."""
        track = self._tracks.get((node, gpu))
        return track.learned if track is not None else None


def _is_held(gpu: GpuInfo, sample: GpuSample) -> bool:
    """Whether a cap limits the GPU. At its maximum cap it draws its maximum anyway."""
    is_held = sample.cap_bound_ms >= MIN_BOUND_MS or bool(sample.reasons & SW_POWER_CAP)
    return is_held and (sample.cap_mw or 0) < gpu.cap_max_mw


def _wanted(track: _Track, fallback_mw: int, at: Instant, is_protected: bool) -> int:
    draw = track.learned.draw
    swing = draw.swing_permille if is_protected else PERMILLE
    usual_mw = _usual(draw, is_protected) * swing // PERMILLE if draw.is_known else fallback_mw
    if at < track.bound_until:
        probe = PROTECTED_PROBE_PERMILLE if is_protected else PROBE_PERMILLE
        seen_mw = 0 if track.is_bound else track.peak_mw
        return max(usual_mw, track.bound_mw * probe // PERMILLE, seen_mw)
    peak_mw = track.peak_mw
    if at < track.full_at or not peak_mw:
        return max(usual_mw, peak_mw)
    wanted_mw = peak_mw * max(PERMILLE + RAMP_MARGIN_PERMILLE, swing) // PERMILLE
    if draw.is_known:  # no margin above the highest draw ever seen
        wanted_mw = min(wanted_mw, max(peak_mw, draw.top_mw) * swing // PERMILLE)
    return wanted_mw


def _usual(draw: Draw, is_protected: bool) -> int:
    return draw.p99_mw if is_protected else draw.p95_mw
