"""Validation of domain meters against the draw that the nodes below them explain; pure.

A meter is the only measurement of the real load of a breaker, and the least reliable: it may
freeze, read wrong or vanish. So it is trusted in one direction only. A reading above what its nodes
explain shows unbooked load: that is reserved as soon as every node has reported its draw of that
moment, and released slowly. A reading below raises nothing. An untrusted meter only raises its
alarm, and puts the fallback budget in force where the site file has one: leases bound the draw
without any meter.

The part of the difference that grows with the nodes' draw (a factor: their sensors or models are
wrong) and the constant part (an undeclared load) are fitted by least squares with exponential
forgetting; the slope is pulled towards 1 until the draw has varied enough to determine it.
"""

from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.sensing import Meter
from wattline_protocol.text.wording import power_text
from wattline_protocol.views.site_views import MeterTrust
from wattline_scheduler.power.topology.least_squares import LeastSquares

Trust = MeterTrust
"""`unread`: not read yet, and not overdue."""

WINDOW_S = 15.0
"""Meter and beats are not simultaneous: a reading is compared with the nodes' draw of this window,
and the best match counts."""

AVERAGED_S = 1.0
"""A beat reports the mean over this time before it. So an unexplained reading waits for the beats
of its own moment: a ramp of the fleet is not taken for a foreign load."""

MAX_NOTES = 128
"""Stored notes of the nodes' draw; one a second, so far more than a window."""

TOLERANCE_PERMILLE = 30
TOLERANCE_MIN_MW = 100_000
"""Covers a class 2 meter, node sensors of 1-2 %, and readings that are not simultaneous."""

JUMP_PERMILLE = 150
"""Of the rating. A larger unexplained change between two readings needs a second reading."""

IMPOSSIBLE_PERMILLE = 2_000
"""Of the rating. At twice its rating a breaker opens within seconds (UL 489 curves: 10 s to some
minutes), so a meter that keeps reporting that is wrong."""

REJECTED_FOR_ALARM = 3
ACCEPTED_FOR_TRUST = 3

FROZEN_PERMILLE = 20
"""Of the rating: the nodes' draw moved by more while the meter reading did not change."""

FALL_HALF_S = 300.0
"""Half-life of a reserved load that is explained again."""

FACTOR_RANGE_PERMILLE = (800, 1_250)
FIT_SPREAD_PERMILLE = 30
"""Of the rating: until the draw has spread by so much, the slope stays near 1."""

LOADED_PERMILLE = 50
"""Of the rating: at lower draw the factor would be mostly noise."""


@dataclass(frozen=True, slots=True)
class PowerConnection:
    """How one node's draw counts in the metered domain."""

    node: NodeId
    usual_permille: int
    """Best estimate of the share of its wall watts that flows here."""
    most_permille: int
    """Largest share in any case that I1 must hold in."""
    is_certain: bool
    """Whether all of it flows here in every failure case."""


@dataclass(frozen=True, slots=True)
class ModelledLoad:
    """Estimated draw of the nodes on a domain now. Wall milliwatts."""

    drawn_mw: int
    """Best estimate."""
    least_mw: int
    """Measured draw of GPUs that certainly count here, before the power supplies."""
    most_mw: int
    """With every node that may count here in full (redundant inputs)."""
    is_complete: bool = True
    """Whether every node reported, so that no part is a bound instead of a measurement."""


@dataclass(slots=True)
class MeterNow:
    """State of one domain's meter in this run."""

    rules: Meter
    rating_mw: int
    fixed_mw: int
    """The domain's declared fixed load."""
    since: Instant
    """Since when readings are expected."""
    connections: tuple[PowerConnection, ...] = ()
    beat_s: float = 1.0
    """Interval between two beats of a node."""
    trust: Trust = "unread"
    why: str = ""
    """Why it is not trusted; empty while it is."""
    wall_mw: int | None = None
    """Newest trusted value."""
    read_at: Instant | None = None
    """Time of the newest value, trusted or not."""
    error: str = ""
    """Why the newest reading had no value."""
    residual_mw: int = 0
    """Newest trusted value less what its nodes and fixed load explain."""
    factor_permille: int = 1000
    """Slow, bounded ratio of metered to estimated node draw; shown, never applied to a budget."""
    held_mw: int = 0
    """Reserve for unbooked load: rises as soon as the load is certain, falls slowly."""
    _notes: deque[tuple[Instant, ModelledLoad]] = field(
        default_factory=lambda: deque(maxlen=MAX_NOTES)
    )
    _unexplained: deque[tuple[Instant, int]] = field(
        default_factory=lambda: deque(maxlen=MAX_NOTES)
    )
    """Time and value of readings whose excess waits for the beats of their moment."""
    _fit: LeastSquares = field(default_factory=LeastSquares)
    _believed_at: Instant | None = None
    _pending_mw: int | None = None
    _rejected: int = 0
    _accepted: int = 0
    _same_since: Instant | None = None
    _same_mw: int | None = None
    _same_held_mw: int = 0
    """The reserve before the value that the meter now repeats."""
    _same_low_mw: int = 0
    _same_high_mw: int = 0

    @property
    def has_notes(self) -> bool:
        """Whether there is any node draw to compare a reading with."""
        return bool(self._notes)

    # --- input ------------------------------------------------------------------------------

    def note(self, modelled: ModelledLoad, at: Instant) -> None:
        """Record the nodes' present draw; once a second."""
        self._notes.append((at, modelled))
        while self._notes and at - self._notes[0][0] > WINDOW_S:
            self._notes.popleft()
        self._same_low_mw = min(self._same_low_mw, modelled.drawn_mw)
        self._same_high_mw = max(self._same_high_mw, modelled.drawn_mw)
        self._settle(at)
        self._judge_age(at)

    def take(self, wall_mw: int | None, error: str, at: Instant) -> None:
        """Process a reading: a value, or the reason why there is none."""
        self.error = error if wall_mw is None else ""
        if wall_mw is None or not self._notes:
            return
        self.read_at = at
        self._watch_change(wall_mw, at)
        if self.trust == "frozen":
            return
        problem = self._implausible(wall_mw)
        if problem:
            self._reject(problem)
        elif not self._is_sudden(wall_mw, at):
            self._believe(wall_mw, at)
        self._judge_age(at)

    # --- validation -------------------------------------------------------------------------

    def nodes_mw(self, wall_mw: int) -> int:
        """The part of a value attributed to the nodes and to unbooked load."""
        fixed_mw = self.fixed_mw if self.rules.counts_fixed_load else 0
        return wall_mw - fixed_mw - self.rules.also_counts_mw

    def _implausible(self, wall_mw: int) -> str:
        least_mw = min(e.least_mw for _, e in self._notes)
        nodes_mw = self.nodes_mw(wall_mw)
        if nodes_mw < least_mw - _tolerance_mw(least_mw):
            gpus = f"{power_text(least_mw)}"
            return f"reads {power_text(wall_mw)}, GPUs below it alone draw {gpus}"
        if wall_mw > self.rating_mw * IMPOSSIBLE_PERMILLE // 1000:
            return f"reads {power_text(wall_mw)}, at which its breaker would have tripped"
        return ""

    def _is_sudden(self, wall_mw: int, at: Instant) -> bool:
        """Whether a jump that the nodes do not explain still needs a confirming reading."""
        if self.wall_mw is None or self._believed_at is None:
            return False
        if at - self._believed_at > self.rules.stale_after_s:
            return False
        limit_mw = self.rating_mw * JUMP_PERMILLE // 1000
        moved_mw = max(e.most_mw for _, e in self._notes) - min(e.drawn_mw for _, e in self._notes)
        is_leap = abs(wall_mw - self.wall_mw) > limit_mw + moved_mw
        known, self._pending_mw = self._pending_mw, wall_mw if is_leap else None
        is_confirmed = known is not None and abs(wall_mw - known) <= limit_mw + moved_mw
        return is_leap and not is_confirmed

    def _reject(self, problem: str) -> None:
        self._accepted = 0
        self._rejected += 1
        if self._rejected >= REJECTED_FOR_ALARM:
            self.trust, self.why = "implausible", problem

    def _believe(self, wall_mw: int, at: Instant) -> None:
        self._rejected = 0
        self._accepted += 1
        self._pending_mw = None
        self._update_held(wall_mw, at)
        self._update_factor(wall_mw, at)
        self.wall_mw, self._believed_at = wall_mw, at
        is_doubted = self.trust in ("stale", "implausible")
        if self.trust == "unread" or (is_doubted and self._accepted >= ACCEPTED_FOR_TRUST):
            self.trust, self.why = "ok", ""

    def _watch_change(self, wall_mw: int, at: Instant) -> None:
        if wall_mw != self._same_mw or self._same_since is None:
            drawn_mw = self._notes[-1][1].drawn_mw
            self._same_mw, self._same_since = wall_mw, at
            self._same_held_mw = self.held_mw
            self._same_low_mw = self._same_high_mw = drawn_mw
            if self.trust == "frozen":
                self.trust, self.why = "ok", ""

    def _judge_age(self, at: Instant) -> None:
        """Staleness and frozenness, which no single reading shows."""
        heard_at = self.since if self.read_at is None else self.read_at
        if at - heard_at > self.rules.stale_after_s:
            self.trust, self._accepted = "stale", 0
            self.why = f"has given no value for {self.rules.stale_after_s:.0f} s"
            self.why += f": {self.error}" if self.error else ""
        elif self._is_frozen(at):
            moved = power_text(self._same_high_mw - self._same_low_mw)
            # The repeated value was never a measurement: undo its effects.
            self.held_mw = min(self.held_mw, self._same_held_mw)
            self._unexplained.clear()
            self.trust = "frozen"
            self.why = f"repeats one value while its nodes' draw changed by {moved}"

    def _is_frozen(self, at: Instant) -> bool:
        if self._same_since is None or self.trust == "implausible":
            return False
        moved_mw = self._same_high_mw - self._same_low_mw
        has_moved = moved_mw > max(self.rating_mw * FROZEN_PERMILLE // 1000, TOLERANCE_MIN_MW)
        return at - self._same_since >= self.rules.frozen_after_s and has_moved

    # --- reserve ----------------------------------------------------------------------------

    def _update_held(self, wall_mw: int, at: Instant) -> None:
        now_mw = self._over_mw(wall_mw)
        if now_mw > self.held_mw:
            self._unexplained.append((at, wall_mw))
        elif self._believed_at is not None:
            decay = 0.5 ** ((at - self._believed_at) / FALL_HALF_S)
            fallen_mw = now_mw + int((self.held_mw - now_mw) * decay)
            self.held_mw = fallen_mw if fallen_mw > TOLERANCE_MIN_MW // 2 else 0

    def _settle(self, at: Instant) -> None:
        """Reserve the load that readings showed beyond all beats of their moment."""
        waiting = self._unexplained
        while waiting and at - waiting[0][0] >= self.beat_s + AVERAGED_S:
            read_at, wall_mw = waiting.popleft()
            self.held_mw = max(self.held_mw, self._over_mw(wall_mw))
            if self._same_since is not None and read_at < self._same_since:
                self._same_held_mw = max(self._same_held_mw, self.held_mw)

    def _over_mw(self, wall_mw: int) -> int:
        """The part of a value that the nodes' draw of the window does not explain."""
        most_mw = max(e.most_mw for _, e in self._notes)
        over_mw = self.nodes_mw(wall_mw) - most_mw
        return over_mw if over_mw > _tolerance_mw(most_mw) else 0

    def _update_factor(self, wall_mw: int, at: Instant) -> None:
        newest = self._notes[-1][1]
        drawn_mw = newest.drawn_mw
        nodes_mw = self.nodes_mw(wall_mw)
        self.residual_mw = nodes_mw - drawn_mw
        is_loaded = drawn_mw * 1000 >= self.rating_mw * LOADED_PERMILLE
        if not newest.is_complete or not is_loaded:
            return
        self._fit.add(drawn_mw, nodes_mw, at)
        least, most = FACTOR_RANGE_PERMILLE
        ratio = self._fit.ratio()
        if ratio is not None:
            self.factor_permille = min(most, max(least, round(ratio * 1000)))

    def extra_mw(self, committed_mw: int) -> int:
        """Watts to reserve beside `committed_mw`, which the nodes below may draw in full.

        The unbooked load as it is, and its part that grows with the nodes' draw extrapolated to
        their committed draw.
        """
        if not self._notes:
            return self.held_mw
        still_mw = max(0, committed_mw - self._notes[-1][1].drawn_mw)
        slope = self._fit.slope(self.rating_mw * FIT_SPREAD_PERMILLE / 1000)
        steeper = max(0.0, slope - 1.0 - TOLERANCE_PERMILLE / 1000)
        return self.held_mw + int(steeper * still_mw) if self.held_mw else 0


def _tolerance_mw(of_mw: int) -> int:
    return max(TOLERANCE_MIN_MW, of_mw * TOLERANCE_PERMILLE // 1000)
