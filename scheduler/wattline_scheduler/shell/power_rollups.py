"""Power roll-ups: the site's draw, second by second, added up into steps for the store.

Each second every node counts with its draw times the time that passed; a silent node counts towards
its domains (missing telemetry counts as the cap) but not towards energy: that comes from its
agent's spool.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from wattline_protocol.ids import DomainId, Instant, NodeId, Now, UnixTime
from wattline_protocol.trust.refusals import RateLimit
from wattline_protocol.wire.agent_messages import Rollups
from wattline_scheduler.core.leases.measured_draw import Draw, all_draws, domain_draws, sample_mw
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.store.rollups import (
    DOMAIN_STEP_S,
    SPOOL_AHEAD_S,
    DomainRollup,
    NodeRollup,
)

METER_PERIOD_S = 1.0

GAP_MAX_S = 3.0
"""A longer gap between two readings: the scheduler stood still; it counts as this much."""

FRESH_BEATS = 3.0
"""After this many beat periods of silence an agent begins to spool its energy."""

SPOOLED_AT_ONCE = 10_080 + 60
"""A full spool of an agent, a week of minutes, and one message more."""

SPOOLED_PER_S = 1 / DOMAIN_STEP_S
"""Spooled steps of one node in the long run: as many as its beats make."""

Step = DomainRollup | NodeRollup

log = structlog.get_logger()


@dataclass(slots=True)
class _DomainSums:
    budget_mw: int
    seconds: float = 0.0
    committed_max_mw: int = 0
    leased_max_mw: int = 0
    measured_max_mw: int = 0
    measured_mj: float = 0.0


@dataclass(slots=True)
class _NodeSums:
    seconds: float = 0.0
    node_mj: float = 0.0
    gpu_mj: float = 0.0
    peak_mw: int = 0
    cap_bound_ms: int = 0
    beat_seq: int = -1
    """Newest beat whose cap-bound time was counted."""


class PowerRollups:
    """The step in progress. Read once a second, taken once a step."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._read_at: Instant | None = None
        self._start_unix_s = 0
        self._domains: dict[DomainId, _DomainSums] = {}
        self._nodes: dict[NodeId, _NodeSums] = {}
        self._unheard: dict[NodeId, int] = {}
        self._unheard_in: dict[DomainId, int] = {}

    def booked(self, nodes: Iterable[NodeId]) -> None:
        """Entries of these nodes changed: includes peaks between two readings."""
        touched: set[DomainId] = set()
        for node in nodes:
            self._add_unheard(self._state.nodes[node])
            touched.update(self._state.domains.of[node])
        for domain in touched:
            self._note_committed(domain)

    def _note_committed(self, domain: DomainId) -> _DomainSums:
        state = self._state
        budget_mw = state.domains.budget_mw(domain)
        sums = self._domains.setdefault(domain, _DomainSums(budget_mw))
        committed_mw = state.books.committed_in(domain)
        leased_mw = committed_mw - self._unheard_in.get(domain, 0)
        sums.budget_mw = min(sums.budget_mw, budget_mw)
        sums.committed_max_mw = max(sums.committed_max_mw, committed_mw)
        sums.leased_max_mw = max(sums.leased_max_mw, leased_mw)
        return sums

    def _add_unheard(self, node: NodeNow) -> None:
        """Nameplates of nodes never heard: counted by the books, but neither leased nor drawn."""
        books = self._state.books
        is_unheard = books.entry(node.id).standing == "nameplate" and node.beat is None
        unheard_mw = books.committed_mw(node.id) if is_unheard else 0
        change_mw = unheard_mw - self._unheard.get(node.id, 0)
        if change_mw == 0:
            return
        self._unheard[node.id] = unheard_mw
        for domain in self._state.domains.of[node.id]:
            self._unheard_in[domain] = self._unheard_in.get(domain, 0) + change_mw

    def read(self, now: Now) -> tuple[Step, ...]:
        """Add the time since the last reading; returns steps to save when one was completed."""
        start = int(now.unix_s) // DOMAIN_STEP_S * DOMAIN_STEP_S
        done = self.take() if start != self._start_unix_s else ()
        self._start_unix_s = start
        passed_s = 0.0 if self._read_at is None else min(now.mono_s - self._read_at, GAP_MAX_S)
        self._read_at = now.mono_s
        draws = all_draws(self._state)
        self._add_domains(draws, passed_s)
        for node in self._state.nodes.values():
            if draws[node.id].is_heard and self._is_fresh(node, now):
                self._add_node(node, draws[node.id], passed_s)
        return done

    def _is_fresh(self, node: NodeNow, now: Now) -> bool:
        limit_s = FRESH_BEATS * self._state.site.timing.beat_period_s
        return node.heard_at is not None and now.mono_s - node.heard_at <= limit_s

    def _add_domains(self, draws: dict[NodeId, Draw], passed_s: float) -> None:
        for node in self._state.nodes.values():
            self._add_unheard(node)
        for domain, measured_mw in domain_draws(self._state, draws).items():
            sums = self._note_committed(domain)
            drawn_mw = measured_mw - self._unheard_in.get(domain, 0)
            sums.seconds += passed_s
            sums.measured_max_mw = max(sums.measured_max_mw, drawn_mw)
            sums.measured_mj += drawn_mw * passed_s

    def _add_node(self, node: NodeNow, draw: Draw, passed_s: float) -> None:
        beat = node.beat
        if beat is None:
            return
        sums = self._nodes.setdefault(node.id, _NodeSums())
        gpus_mw = sum(sample_mw(sample, node.gpus.get(sample.index)) for sample in beat.gpus)
        sums.seconds += passed_s
        sums.node_mj += draw.mw * passed_s
        sums.gpu_mj += gpus_mw * passed_s
        sums.peak_mw = max(sums.peak_mw, draw.mw)
        if beat.seq != sums.beat_seq:
            sums.beat_seq = beat.seq
            sums.cap_bound_ms += sum(sample.cap_bound_ms for sample in beat.gpus)

    def take(self) -> tuple[Step, ...]:
        """Take the step in progress and start a new one."""
        steps = self.peek()
        # A peak without time yet belongs to the next step.
        self._domains = {d: sums for d, sums in self._domains.items() if sums.seconds == 0}
        for node, sums in self._nodes.items():
            self._nodes[node] = _NodeSums(beat_seq=sums.beat_seq)
        return steps

    def peek(self) -> tuple[Step, ...]:
        """The step in progress so far."""
        start = self._start_unix_s
        domains = (_domain_step(d, start, s) for d, s in self._domains.items() if s.seconds > 0)
        nodes = (_node_step(n, start, s) for n, s in self._nodes.items() if s.seconds > 0)
        return (*domains, *nodes)


def _domain_step(domain: DomainId, start_unix_s: int, sums: _DomainSums) -> DomainRollup:
    return DomainRollup(
        domain=domain,
        start_unix_s=start_unix_s,
        seconds=sums.seconds,
        budget_mw=sums.budget_mw,
        committed_max_mw=sums.committed_max_mw,
        leased_max_mw=sums.leased_max_mw,
        measured_max_mw=sums.measured_max_mw,
        measured_mean_mw=int(sums.measured_mj / sums.seconds),
    )


def _node_step(node: NodeId, start_unix_s: int, sums: _NodeSums) -> NodeRollup:
    return NodeRollup(
        node=node,
        start_unix_s=UnixTime(float(start_unix_s)),
        source="beats",
        seconds=sums.seconds,
        node_energy_mj=int(sums.node_mj),
        gpu_energy_mj=int(sums.gpu_mj),
        node_peak_mw=sums.peak_mw,
        cap_bound_gpu_ms=sums.cap_bound_ms,
    )


class SpooledRollups:
    """Roll-ups that agents spooled during outages, bounded by node and time.

    In the long run a node stores no more of them than steps from its beats, so that a stolen key
    of an agent cannot fill the store.
    """

    def __init__(self) -> None:
        self._rate = RateLimit(SPOOLED_PER_S, SPOOLED_AT_ONCE)

    def steps(self, node: NodeId, rollups: Rollups, now: Now) -> list[NodeRollup] | None:
        """What to store of them; None: too many, the agent sends them again later."""
        if not self._rate.allows(node, now.mono_s, max(1, len(rollups.items))):
            return None
        latest_unix_s = now.unix_s + SPOOL_AHEAD_S
        steps = [step for step in _spooled(node, rollups) if step.start_unix_s <= latest_unix_s]
        if ahead := len(rollups.items) - len(steps):
            log.warning("spooled_rollups_ahead", node=node, dropped=ahead, after=latest_unix_s)
        return steps


def _spooled(node: NodeId, rollups: Rollups) -> list[NodeRollup]:
    return [
        NodeRollup(
            node=node,
            start_unix_s=item.start_unix_s,
            source="spool",
            seconds=item.seconds,
            node_energy_mj=item.node_energy_mj,
            gpu_energy_mj=sum(item.gpu_energy_mj),
            node_peak_mw=item.node_peak_mw,
            cap_bound_gpu_ms=item.cap_bound_gpu_ms,
        )
        for item in rollups.items
    ]
