"""Domain meters, judged: what a meter says against what the nodes below it can explain; pure.

A meter is the only witness of what is really on a breaker, and the worst one: it freezes, lies and
vanishes. So it is believed in one direction only. What it says above that which its nodes explain
is load that nobody booked: it is kept free as soon as every node has told what it drew at that
moment, and given back slowly. What it says below that raises nothing. A meter that cannot be
believed changes nothing but its alarm, and puts the fallback budget in force where the site file
has one: leases bound the draw without any meter.

How much of the difference grows with the nodes' draw (a factor: their sensors or models are wrong)
and how much stands beside it (a load that nobody declared) is fitted by least squares with
exponential forgetting; the slope is held towards 1 until the draw has moved enough to tell.
"""

from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.sensing import Meter
from wattline_protocol.views.site_views import MeterTrust
from wattline_scheduler.power.topology.least_squares import Line

Trust = MeterTrust
"""`unread`: not read yet, and not overdue."""

WINDOW_S = 15.0
"""Meter and beats are not of the same moment: a reading is held against the nodes' draw of so
long, whichever explains it best."""

AVERAGED_S = 1.0
"""A beat tells the mean of so long before it. So a reading that is not explained waits for the
beats of its own moment: a fleet that ramps is not taken for a stranger."""

MAX_NOTES = 128
"""Of the nodes' draw; once a second, so far more than a window."""

TOLERANCE_PERMILLE = 30
TOLERANCE_MIN_MW = 100_000
"""A class 2 meter, node sensors of 1-2 %, and what is not of the same moment."""

JUMP_PERMILLE = 150
"""Of the rating. A reading that leaves the one before by more, unexplained, wants a second one."""

IMPOSSIBLE_PERMILLE = 2_000
"""Of the rating. At twice its rating a breaker opens within seconds (UL 489 curves: 10 s to some
minutes), so a meter that goes on saying so is wrong."""

REJECTED_FOR_ALARM = 3
ACCEPTED_FOR_TRUST = 3

FROZEN_PERMILLE = 20
"""Of the rating: the nodes' draw moved by more while the meter said the same."""

FALL_HALF_S = 300.0
"""In so long half of a load that is explained again is given back."""

FACTOR_RANGE_PERMILLE = (800, 1_250)
FIT_SPREAD_PERMILLE = 30
"""Of the rating: until the draw has spread by so much, the slope stays near 1."""

LOADED_PERMILLE = 50
"""Of the rating: below it a factor would be noise over noise."""


@dataclass(frozen=True, slots=True)
class Hangs:
    """How one node hangs on the metered domain."""

    node: NodeId
    usual_permille: int
    """Best guess of the share of its wall watts that flows here."""
    most_permille: int
    """In any case that I1 must hold in."""
    is_certain: bool
    """All of it flows here, whatever fails."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What the scheduler believes the nodes put on a domain now. Wall milliwatts."""

    drawn_mw: int
    """Best estimate."""
    least_mw: int
    """What GPUs that certainly hang there measurably draw, before the power supplies."""
    most_mw: int
    """With every node that could hang there in full (redundant inputs)."""
    is_complete: bool = True
    """Every node was heard, so that nothing of it is a bound in place of a measurement."""


@dataclass(slots=True)
class MeterNow:
    """One domain's meter in this run."""

    rules: Meter
    rating_mw: int
    fixed_mw: int
    """The domain's declared fixed load."""
    since: Instant
    """When it began to be expected."""
    hangs: tuple[Hangs, ...] = ()
    beat_s: float = 1.0
    """Between two beats of a node."""
    trust: Trust = "unread"
    why: str = ""
    """What is wrong with it, in words; empty while it is believed."""
    wall_mw: int | None = None
    """Newest value that was believed."""
    read_at: Instant | None = None
    """When the newest value came, believed or not."""
    error: str = ""
    """Why the newest reading had no value."""
    residual_mw: int = 0
    """Newest believed value less what its nodes and fixed load explain."""
    factor_permille: int = 1000
    """Slow ratio of metered to believed draw of the nodes, bounded; shown, never a budget's."""
    held_mw: int = 0
    """Load that nobody booked: rises as soon as it is certain, falls slowly."""
    _notes: deque[tuple[Instant, Explained]] = field(
        default_factory=lambda: deque(maxlen=MAX_NOTES)
    )
    _unexplained: deque[tuple[Instant, int]] = field(
        default_factory=lambda: deque(maxlen=MAX_NOTES)
    )
    """Readings whose excess waits for the beats of their moment: when, and what they said."""
    _line: Line = field(default_factory=Line)
    _believed_at: Instant | None = None
    _pending_mw: int | None = None
    _rejected: int = 0
    _accepted: int = 0
    _same_since: Instant | None = None
    _same_mw: int | None = None
    _same_held_mw: int = 0
    """What was held before the value that it now repeats."""
    _same_low_mw: int = 0
    _same_high_mw: int = 0

    @property
    def has_notes(self) -> bool:
        """Whether anything is known that a reading could be held against."""
        return bool(self._notes)

    # --- what comes in ----------------------------------------------------------------------

    def note(self, explained: Explained, at: Instant) -> None:
        """What the nodes draw now; once a second."""
        self._notes.append((at, explained))
        while self._notes and at - self._notes[0][0] > WINDOW_S:
            self._notes.popleft()
        self._same_low_mw = min(self._same_low_mw, explained.drawn_mw)
        self._same_high_mw = max(self._same_high_mw, explained.drawn_mw)
        self._settle(at)
        self._judge_age(at)

    def take(self, wall_mw: int | None, error: str, at: Instant) -> None:
        """A reading came in, with a value or with the reason why there is none."""
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

    # --- judging ----------------------------------------------------------------------------

    def nodes_mw(self, wall_mw: int) -> int:
        """Of a value, the part that the nodes (and what nobody booked) must be."""
        fixed_mw = self.fixed_mw if self.rules.counts_fixed_load else 0
        return wall_mw - fixed_mw - self.rules.also_counts_mw

    def _implausible(self, wall_mw: int) -> str:
        least_mw = min(e.least_mw for _, e in self._notes)
        nodes_mw = self.nodes_mw(wall_mw)
        if nodes_mw < least_mw - _tolerance_mw(least_mw):
            gpus = f"{least_mw / 1000:.0f} W"
            return f"says {wall_mw / 1000:.0f} W, but GPUs below it alone draw {gpus}"
        if wall_mw > self.rating_mw * IMPOSSIBLE_PERMILLE // 1000:
            return f"says {wall_mw / 1000:.0f} W, at which its breaker would have opened"
        return ""

    def _is_sudden(self, wall_mw: int, at: Instant) -> bool:
        """A leap that the nodes do not explain waits for the next reading to say the same."""
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
        """Staleness and frozenness: what no single reading shows."""
        heard_at = self.since if self.read_at is None else self.read_at
        if at - heard_at > self.rules.stale_after_s:
            self.trust, self._accepted = "stale", 0
            self.why = f"gave no value for {self.rules.stale_after_s:.0f} s"
            self.why += f": {self.error}" if self.error else ""
        elif self._is_frozen(at):
            moved_w = (self._same_high_mw - self._same_low_mw) / 1000
            # Nothing that followed from the value it repeats was ever seen.
            self.held_mw = min(self.held_mw, self._same_held_mw)
            self._unexplained.clear()
            self.trust = "frozen"
            self.why = f"says the same for long, while its nodes' draw moved by {moved_w:.0f} W"

    def _is_frozen(self, at: Instant) -> bool:
        if self._same_since is None or self.trust == "implausible":
            return False
        moved_mw = self._same_high_mw - self._same_low_mw
        has_moved = moved_mw > max(self.rating_mw * FROZEN_PERMILLE // 1000, TOLERANCE_MIN_MW)
        return at - self._same_since >= self.rules.frozen_after_s and has_moved

    # --- what follows -----------------------------------------------------------------------

    def _update_held(self, wall_mw: int, at: Instant) -> None:
        now_mw = self._over_mw(wall_mw)
        if now_mw > self.held_mw:
            self._unexplained.append((at, wall_mw))
        elif self._believed_at is not None:
            kept = 0.5 ** ((at - self._believed_at) / FALL_HALF_S)
            fallen_mw = now_mw + int((self.held_mw - now_mw) * kept)
            self.held_mw = fallen_mw if fallen_mw > TOLERANCE_MIN_MW // 2 else 0

    def _settle(self, at: Instant) -> None:
        """What readings showed beyond all beats of their moment is held from now on."""
        waiting = self._unexplained
        while waiting and at - waiting[0][0] >= self.beat_s + AVERAGED_S:
            read_at, wall_mw = waiting.popleft()
            self.held_mw = max(self.held_mw, self._over_mw(wall_mw))
            if self._same_since is not None and read_at < self._same_since:
                self._same_held_mw = max(self._same_held_mw, self.held_mw)

    def _over_mw(self, wall_mw: int) -> int:
        """How much of a value the nodes' draw of the window does not explain."""
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
        self._line.add(drawn_mw, nodes_mw, at)
        least, most = FACTOR_RANGE_PERMILLE
        ratio = self._line.ratio()
        if ratio is not None:
            self.factor_permille = min(most, max(least, round(ratio * 1000)))

    def extra_mw(self, committed_mw: int) -> int:
        """What to keep free beside `committed_mw`, which the nodes below may draw in full.

        The load that nobody booked as it is, and its part that grows with the nodes' draw as it
        would be once they draw everything they may.
        """
        if not self._notes:
            return self.held_mw
        still_mw = max(0, committed_mw - self._notes[-1][1].drawn_mw)
        slope = self._line.slope(self.rating_mw * FIT_SPREAD_PERMILLE / 1000)
        steeper = max(0.0, slope - 1.0 - TOLERANCE_PERMILLE / 1000)
        return self.held_mw + int(steeper * still_mw) if self.held_mw else 0


def _tolerance_mw(of_mw: int) -> int:
    return max(TOLERANCE_MIN_MW, of_mw * TOLERANCE_PERMILLE // 1000)
